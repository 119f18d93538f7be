"""The page "AI in service": history, what a change meant for each finding, and the notice to readers."""

from typing import Any

import pytest
from django.test import Client

from apps.audit.services import Actor
from apps.deployment.models import Activation
from apps.deployment.points import PointChoice
from apps.deployment.services import activate, challenge, set_points
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.registry.versions import registered

BY = Actor(name="test")
NOTICE = "data-version-notice"


@pytest.fixture
def switched(north: Hospital, south: Hospital) -> Activation:
    """Both hospitals follow the platform to its second version; north had chosen a sensitivity for Mass."""
    first, second = registered(1), registered(2, scale=0.5)
    activate(version=first, by=BY)
    choice = PointChoice("sensitivity", 0.8)
    set_points(tenant=north.tenant, version=first, choices={"Mass": choice}, recent={}, by=BY)
    return activate(version=second, by=BY, reason="South complained.")


def test_readers_are_told_of_a_change_until_they_dismiss_it(
    switched: Activation, north: Hospital, south: Hospital, sign_in: Any
) -> None:
    reader, other = sign_in(north, north.radiologist), sign_in(north, north.technologist)
    page = reader.get("/").text
    assert NOTICE in page
    assert "chest-net:2" in page
    assert "South complained" not in page
    changes = f"/ai/changes/{switched.number}/"
    assert changes in page
    shown = " ".join(reader.get(changes).text.split())
    # Mass: north's own point, which keeps its sensitivity; Effusion: the versions' own points.
    assert "0.400 → 0.200" in shown
    assert "0.80 → 0.80" in shown
    assert "0.500 → 0.250" in shown
    assert "0.400" not in sign_in(south, south.radiologist).get(changes).text

    assert reader.post("/ai/notice/", {"number": switched.number}).status_code == 302
    assert NOTICE not in reader.get("/").text
    assert NOTICE in other.get("/").text
    activate(version=registered(3), by=BY)
    assert "chest-net:3" in reader.get("/").text


def test_a_pinned_hospital_hears_only_of_its_own_changes(switched: Activation, north: Hospital, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    pinned = activate(version=registered(3), by=Actor(name="user", user_id=north.admin.pk), tenant=north.tenant)
    other = activate(version=registered(4), by=BY)
    challenge(version=registered(5), by=BY, percent=10)
    page = admin.get("/ai/").text
    assert "chest-net:4" not in page
    assert "chest-net:5" not in page
    assert f"/ai/changes/{pinned.number}/" in page
    assert "South complained." not in page
    assert "The platform&#x27;s operator" in page
    assert "admin of north" in page
    assert admin.get(f"/ai/changes/{other.number}/").status_code == 404
    assert "chest-net:3" in admin.get("/").text


def test_a_finding_that_comes_or_goes_is_named(switched: Activation, north: Hospital, sign_in: Any) -> None:
    fewer = registered(3)
    fewer.manifest["labels"].remove("Hernia")
    for part in ("thresholds", "calibration"):
        del fewer.manifest[part]["Hernia"]
    fewer.save()
    entry = activate(version=fewer, by=BY, tenant=north.tenant)
    assert "not read any more" in sign_in(north, north.admin).get(f"/ai/changes/{entry.number}/").text


def test_without_a_version_the_page_says_so(north: Hospital, sign_in: Any) -> None:
    admin: Client = sign_in(north, north.admin)
    assert "No model is in service" in admin.get("/ai/").text
    assert "Nothing changed" in admin.get("/ai/").text
    assert "No model is in service" in admin.post("/ai/stop/", {"reason": "x"}).text
    with tenant_tx(north.tenant.pk):
        assert not Activation.objects.exists()
