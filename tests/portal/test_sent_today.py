"""What a technologist sees of what they sent today: states, reasons and what to do; never a finding."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.portal.remedies import REMEDIES, remedy_of
from apps.registry import engine
from apps.tenants.scope import tenant_tx
from ml.model.input_check import CODES
from tests.conftest import Hospital
from tests.portal.test_upload import send


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.technologist)


def test_each_study_has_its_state_the_reason_and_what_to_do(
    client: Client, north: Hospital, south: Hospital, sign_in: Callable[..., Client],
    make_film: Callable[..., Path], read_studies: Callable[[], int],
) -> None:  # fmt: skip
    assert "Nothing yet." in client.get("/upload/today/").text
    for seed, view, name in [(1, "PA", "READ^One"), (2, "LL", "LATERAL^Two")]:
        film = make_film(seed=seed, view_position=view, patient_name=name, findings=("Effusion",) if seed == 1 else ())
        assert send(client, film.read_bytes()).json()[0]["outcome"] == "stored"
    page = client.get("/upload/today/").text
    assert "Studies: 2 · waiting: 2 · read: 0 · not read or failed: 0" in page
    read_studies()
    send(client, make_film(seed=3, patient_name="WAITS^Three").read_bytes())
    page = client.get("/upload/today/").text
    assert "Studies: 3 · waiting: 1 · read: 1 · not read or failed: 1" in page
    assert page.index("LATERAL, Two") < page.index("WAITS, Three") < page.index("READ, One")
    assert "only frontal films are read" in page
    assert "Nothing to do for a lateral view." in page
    assert "%" not in page
    assert not [label for label in engine.LABELS if label.replace("_", " ").lower() in page.lower()]
    assert "LATERAL, Two" in client.get("/upload/").text
    for other in (sign_in(north, north.radiologist), sign_in(south, south.technologist)):
        assert "Nothing yet." in other.get("/upload/today/").text


def test_an_unchanged_list_is_not_sent_again(client: Client, make_film: Callable[..., Path]) -> None:
    send(client, make_film(seed=1).read_bytes())
    first = client.get("/upload/today/", headers={"X-Fragment": "1"})
    again = client.get("/upload/today/", headers={"X-Fragment": "1", "If-None-Match": first["ETag"]})
    assert (again.status_code, len(again.content)) == (304, 0)
    assert "<html" not in first.text
    send(client, make_film(seed=2).read_bytes())
    changed = client.get("/upload/today/", headers={"X-Fragment": "1", "If-None-Match": first["ETag"]})
    assert (changed.status_code, first["Cache-Control"]) == (200, "private, no-store")
    for page in ("0", "x", "999999999999", "2"):
        assert client.get(f"/upload/today/?page={page}").status_code == 200


def test_today_begins_at_midnight_of_the_hospital(
    client: Client, north: Hospital, make_film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, make_film(seed=1, patient_name="DOE^Jane").read_bytes())
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.filter(action=AuditEvent.Action.INSTANCE_STORED).count() == 1
    assert "DOE, Jane" in client.get("/upload/today/").text
    tomorrow = timezone.now() + datetime.timedelta(days=1)
    monkeypatch.setattr("apps.portal.sent_today.timezone.now", lambda: tomorrow)
    assert "DOE, Jane" not in client.get("/upload/today/").text


def test_every_refusal_has_a_remedy() -> None:
    assert set(CODES) <= set(REMEDIES)
    every: list[Any] = [*REMEDIES, "worker-lost", None]
    assert all(remedy_of(code) for code in every)
