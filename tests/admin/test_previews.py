"""Requesting a preview on a version's activation page."""

from typing import Any

from django.test import Client
from django.urls import reverse

from apps.audit.services import Actor
from apps.deployment.models import PreviewJob
from apps.deployment.services import PREVIEWS, activate, note_progress, retire
from apps.registry.models import ModelVersion
from tests.conftest import Hospital
from tests.registry.versions import registered

FORM = b"Preview this switch"


def address(of: str, version: ModelVersion) -> str:
    return reverse(f"admin:registry_modelversion_{of}", args=[version.pk])


def test_one_open_preview_at_a_time_and_within_bounds(
    operator: Client, north: Hospital, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    ask, page = address("preview", pair[1]), address("activate", pair[1])
    assert b"There is no preview of this switch yet" in operator.get(page).content
    for wrong in ("0", "5001", "all"):
        refused = operator.post(ask, {"tenant": north.tenant.pk, "last": wrong})
        assert refused.status_code == 200
        assert b"errorlist" in refused.content
    assert not PreviewJob.objects.exists()
    assert operator.post(ask, {"tenant": north.tenant.pk, "last": "5000"}).status_code == 302
    twice = operator.post(ask, {"tenant": north.tenant.pk, "last": "10"})
    assert b"is under way" in twice.content
    (job,) = PREVIEWS.claim(worker="test")
    note_progress(job=job, done=16, of=40)
    assert "16 of 40 studies" in operator.get(address("previews", pair[1])).content.decode()
    assert PreviewJob.objects.get().actor.startswith("user:")


def test_a_preview_is_offered_only_for_tenants_of_another_version(
    operator: Client, north: Hospital, south: Hospital, pair: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = pair
    assert FORM not in operator.get(address("activate", first)).content
    activate(version=second, tenant=north.tenant, by=Actor(name="test"))
    for version, other, served in ((first, north, south), (second, south, north)):
        form = operator.get(address("activate", version)).context["preview_form"]
        assert list(form.fields["tenant"].queryset) == [other.tenant]
        assert operator.post(address("preview", version), {"tenant": served.tenant.pk, "last": "5"}).status_code == 200
    activate(version=second, by=Actor(name="test"))
    assert FORM not in operator.get(address("activate", second)).content
    unused = registered(3)
    assert FORM in operator.get(address("activate", unused)).content
    retire(version=unused, by=Actor(name="test"), reason="Old.")
    assert FORM not in operator.get(address("activate", unused)).content
    assert operator.post(address("preview", unused), {"tenant": north.tenant.pk, "last": "5"}).status_code == 302
    assert not PreviewJob.objects.exists()


def test_operators_only(north: Hospital, pair: tuple[ModelVersion, ModelVersion], sign_in: Any) -> None:
    for client in (Client(), sign_in(north, north.admin)):
        for of in ("preview", "previews"):
            answered = client.post(address(of, pair[1]), {"tenant": north.tenant.pk, "last": "5"})
            assert answered.status_code in (302, 403, 404)
            assert b"What would change" not in answered.content
    assert not PreviewJob.objects.exists()
