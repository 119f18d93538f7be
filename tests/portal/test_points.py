"""Operating points in the portal: administrators see and change those of their own hospital only."""

from typing import Any

import pytest
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.deployment.models import Activation
from apps.deployment.points import PointChoice
from apps.deployment.selectors import thresholds_for
from apps.deployment.services import activate, set_points
from apps.tenants.scope import tenant_tx
from tests.registry.versions import registered
from tests.results import read, version

__all__ = ["read", "version"]

LIST = reverse("portal:points")
MASS = reverse("portal:point", args=["Mass"])
BY_HAND = {"strategy": "manual", "value": "0.8", "reason": "Fewer false alarms at night."}


@pytest.fixture
def serving(db: None) -> Any:
    version = registered(1)
    activate(version=version, by=Actor(name="test"), reason="Internal: hospital south complained.")
    return version


def test_an_administrator_changes_a_point(north: Any, south: Any, serving: Any, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    listed = admin.get(LIST).content.decode()
    assert "chest-net:1 reads here" in listed
    assert "No changes yet" in listed
    assert MASS in listed
    assert admin.post(MASS, {**BY_HAND, "version": str(serving)}).status_code == 302
    assert thresholds_for(serving, north.tenant.pk)["Mass"] == 0.8
    assert thresholds_for(serving, south.tenant.pk)["Mass"] == 0.5

    line = Activation.objects.first()
    assert line is not None
    assert (line.act, line.for_tenant, line.by, line.reason) == ("points", north.tenant, north.admin, BY_HAND["reason"])
    with tenant_tx(north.tenant.pk):
        kept = AuditEvent.objects.get(action="operating-points.changed")
        assert (kept.user, kept.object_id) == (north.admin, line.pk)
    shown = admin.get(LIST).content.decode()
    for words in ("0.800 (set by hand)", "the version&#x27;s own", "admin of north", "Fewer false alarms at night."):
        assert words in shown, words
    # The platform's own reason is not shown.
    assert "hospital south complained" not in shown
    assert "0.800" not in sign_in(south, south.admin).get(LIST).content.decode()

    assert admin.post(MASS, {"strategy": "own", "reason": "Back.", "version": str(serving)}).status_code == 302
    assert thresholds_for(serving, north.tenant.pk)["Mass"] == 0.5


@pytest.mark.parametrize("role", ["radiologist", "technologist"])
def test_other_roles_do_not_get_there(north: Any, serving: Any, sign_in: Any, role: str) -> None:
    client = sign_in(north, getattr(north, role))
    assert LIST not in client.get(reverse("portal:worklist")).content.decode()
    for answer in (client.get(LIST), client.get(MASS), client.post(MASS, {**BY_HAND, "version": str(serving)})):
        assert answer.status_code == 403
    assert Activation.objects.count() == 1


def test_an_administrator_of_another_hospital_stays_there(north: Any, south: Any, serving: Any, sign_in: Any) -> None:
    """The hospital is the one that the membership says, whatever the session claims."""
    client = sign_in(north, south.admin)
    assert client.get(LIST).status_code == 302
    assert client.post(MASS, {**BY_HAND, "version": str(serving)}).status_code == 302
    assert Activation.objects.count() == 1


def test_the_evidence_is_the_hospitals_own(
    north: Any, south: Any, version: Any, store_film: Any, read: Any, sign_in: Any
) -> None:
    for hospital, seed, probability in ((north, 1, 0.9), (north, 2, 0.2), (south, 3, 0.95)):
        read(store_film(hospital, seed=seed, size=256, patient_name="CANARY^JANE").instance, Mass=probability)
    page = sign_in(north, north.admin).get(MASS)
    text = page.content.decode()
    assert "2 recent studies" in text
    assert "0.95" not in text.partition('id="steps"')[2].partition("</script>")[0]
    assert "CANARY" not in text
    assert "unsafe" not in page["Content-Security-Policy"]


def test_refusals_are_said_in_the_form(north: Any, serving: Any, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    assert b"This field is required" in admin.post(MASS, {**BY_HAND, "reason": "", "version": str(serving)}).content
    few = {"strategy": "alert_rate", "target": "0.1", "reason": "x", "version": str(serving)}
    assert b"at least 20 recent studies" in admin.post(MASS, few).content
    assert admin.get(reverse("portal:point", args=["Fracture"])).status_code == 404
    activate(version=registered(2), by=Actor(name="test"))
    moved = admin.post(MASS, {**BY_HAND, "version": str(serving)})
    assert moved.status_code == 409
    assert b"chest-net:2 reads here by now" in moved.content


def test_operators_may_keep_the_points_to_themselves(north: Any, serving: Any, sign_in: Any, settings: Any) -> None:
    settings.HOSPITALS_SET_POINTS = False
    admin = sign_in(north, north.admin)
    assert b"the operator sets the operating points" in admin.get(LIST).content
    assert b"Use this operating point" not in admin.get(MASS).content
    refused = admin.post(MASS, {**BY_HAND, "version": str(serving)})
    assert refused.status_code == 403
    assert Activation.objects.count() == 1
    # Changes by the operator are shown without the operator's name.
    set_points(
        tenant=north.tenant, version=serving, choices={"Mass": PointChoice("manual", value=0.7, reason="Asked for.")},
        recent={}, by=Actor(name="user:1"), reason="Asked for.",
    )  # fmt: skip
    shown = admin.get(LIST).content.decode()
    assert "The platform&#x27;s operator" in shown
    assert "0.700 (set by hand)" in shown


def test_without_a_version_the_page_says_so(north: Any, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    assert b"No model is in service" in admin.get(LIST).content
    assert admin.get(MASS).status_code == 404


def test_a_switch_of_versions_is_part_of_the_history(north: Any, serving: Any, sign_in: Any) -> None:
    kept = {"Mass": PointChoice("sensitivity", 0.8)}
    set_points(tenant=north.tenant, version=serving, choices=kept, recent={}, by=Actor(name="test"), reason="Ours.")
    activate(version=registered(2, scale=0.5), by=Actor(name="test"), reason="Internal.")
    shown = sign_in(north, north.admin).get(LIST).content.decode()
    assert "0.200 (fixed sensitivity 0.80)" in shown
    assert "The platform's version was switched." in shown
    assert "Internal." not in shown
