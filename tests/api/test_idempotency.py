"""A write that was sent twice with one Idempotency-Key is answered once."""

import datetime
from typing import Any

from django.core.management import call_command
from django.utils import timezone

from apps.api.models import IdempotentRequest
from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_tx
from tests.api.predicting import FORM, ask, form, png

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
FILES = form([("files", "one.png", png(1))])
# The same file in a form that was put together anew.
AGAIN = FILES.replace(b"predict-test", b"another-boundary")


def reads(hospital: Any) -> int:
    with tenant_tx(hospital.tenant.id):
        return AuditEvent.objects.filter(action=AuditEvent.Action.IMAGES_PREDICTED).count()


def test_the_same_request_gets_the_same_answer_and_another_is_refused(north: Any, south: Any, serving: Any) -> None:
    first = ask(north.bearer, FILES, FORM, **KEY)
    again = ask(north.bearer, AGAIN, FORM.replace("predict-test", "another-boundary"), **KEY)
    assert (first.status_code, first.content) == (200, again.content), first.content
    assert (again["Idempotency-Replayed"], again["Cache-Control"]) == ("true", "private, no-store")
    assert reads(north) == 1
    for body, kind, query in (
        (form([("files", "one.png", png(2))]), FORM, ""), (png(1), "image/png", ""), (FILES, FORM, "?heatmaps=true")
    ):  # fmt: skip
        other = ask(north.bearer, body, kind, query, **KEY)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused"), query
    # Keys belong to their caller, and an answer is kept for a day.
    assert "Idempotency-Replayed" not in ask(south.bearer, FILES, FORM, **KEY)
    with tenant_tx(north.tenant.id):
        assert IdempotentRequest.objects.update(started=timezone.now() - datetime.timedelta(hours=25)) == 1
    call_command("dispatcher", "--once")
    with tenant_tx(north.tenant.id):
        assert not IdempotentRequest.objects.exists()
    assert reads(north) == 1


def test_a_key_in_use_is_a_conflict_until_its_request_must_have_ended(north: Any, serving: Any, settings: Any) -> None:
    assert ask(north.bearer, png(1), "image/png", **KEY).status_code == 200
    with tenant_tx(north.tenant.id):
        IdempotentRequest.objects.update(answer=None)
    busy = ask(north.bearer, png(1), "image/png", **KEY)
    assert (busy.status_code, busy.json()["code"], busy["Retry-After"]) == (409, "idempotency-key-in-use", "2")
    with tenant_tx(north.tenant.id):
        ended = timezone.now() - datetime.timedelta(seconds=2 * settings.PREDICT_SECONDS + 1)
        IdempotentRequest.objects.update(started=ended)
    assert ask(north.bearer, png(1), "image/png", **KEY).status_code == 200


def test_an_error_is_not_kept_and_a_malformed_key_is_refused(north: Any, serving: Any) -> None:
    refused = ask(north.bearer, b"no image", "image/png", **KEY)
    assert refused.status_code == 400
    assert ask(north.bearer, png(1), "image/png", **KEY).status_code == 200
    for key in ("", '""', "x" * 256, "schlüssel".encode().decode("latin-1")):
        malformed = ask(north.bearer, png(1), "image/png", **{"Idempotency-Key": key})
        assert (malformed.status_code, malformed.json()["code"]) == (400, "idempotency-key-invalid"), key
