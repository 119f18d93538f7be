"""The console's what-if page: counts of one tenant's studies at each threshold, and the choice that follows."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.deployment.models import Activation
from apps.deployment.points import OperatingCurve
from apps.deployment.selectors import thresholds_for
from apps.inference.models import Finding
from apps.reports.models import FindingReview
from apps.tenants.scope import tenant_tx
from apps.trials.what_if import RecentProbabilities, threshold_effect, threshold_effects
from tests.registry.versions import CURVE


@pytest.fixture
def reviewed(north: Any, south: Any, version: Any, store_film: Any, read: Any) -> None:
    """Three studies of one hospital, two of them reviewed by a reader, and one study of another hospital."""
    for seed, probability in enumerate((0.9, 0.7, 0.2)):
        film = store_film(north, seed=seed, size=256, patient_name="CANARY^JANE", patient_id=f"C-{seed}")
        read(film.instance, Mass=probability)
    read(store_film(south, seed=9, size=256).instance, Mass=0.95)
    with tenant_tx(north.tenant.pk):
        for probability, verdict in ((0.9, "agree"), (0.7, "disagree")):
            finding = Finding.objects.get(label="Mass", probability=probability)
            FindingReview.objects.create(finding=finding, verdict=verdict, reader=north.radiologist)


def address(hospital: str, label: str = "Mass") -> str:
    return reverse("admin:deployment_operatingpoint_what_if", args=[hospital]) + f"?label={label}"


def steps_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script id="steps" type="application/json">(.*?)</script>', page)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_counts_one_hospitals_studies(operator: Client, reviewed: None) -> None:
    page = operator.get(address("north"))
    text = page.content.decode()
    assert page.status_code == 200
    assert "3 recent studies" in text
    assert "1 present, 1 absent" in text
    assert "CANARY" not in text
    assert "unsafe" not in page["Content-Security-Policy"]
    found = {each["threshold"]: each for each in steps_of(text)}
    assert [found[value]["flagged"] for value in (0.2, 0.7, 0.9)] == [3, 2, 1]
    assert (found[0.9]["reader_sensitivity"], found[0.9]["reader_specificity"]) == (1.0, 1.0)
    assert (found[0.7]["reader_sensitivity"], found[0.7]["reader_specificity"]) == (1.0, 0.0)

    # The other hospital's page counts its own study only.
    assert [each["threshold"] for each in steps_of(operator.get(address("south")).content.decode())] == [0.95]


def test_a_point_is_chosen_with_a_reason(operator: Client, reviewed: None, north: Any, version: Any) -> None:
    given = {"strategy": "manual", "value": "0.8", "reason": "Fewer false alarms at night."}
    assert b"This field is required" in operator.post(address("north"), {**given, "reason": ""}).content
    refused = operator.post(address("north"), {"strategy": "alert_rate", "target": "0.1", "reason": "x"})
    assert b"at least 20 recent studies, and there are 3" in refused.content
    assert operator.post(address("north"), given).status_code == 302
    assert thresholds_for(version, north.tenant.pk)["Mass"] == 0.8
    entry = Activation.objects.first()
    assert entry is not None
    assert (entry.act, entry.for_tenant, entry.reason) == ("points", north.tenant, "Fewer false alarms at night.")
    with tenant_tx(north.tenant.pk):
        # Findings that were read before keep their result.
        assert Finding.objects.get(label="Mass", probability=0.7).positive
    assert "(now)" in operator.get(address("north")).content.decode()
    assert operator.post(address("north"), {"strategy": "own", "reason": "Back."}).status_code == 302
    assert thresholds_for(version, north.tenant.pk)["Mass"] == 0.5


def test_a_finding_without_a_point_and_a_page_without_studies(operator: Client, north: Any, version: Any) -> None:
    assert "has no operating point" in operator.get(address("north", "Hernia")).content.decode()
    assert "Nothing is known yet" in operator.get(address("north")).content.decode()
    assert operator.get(address("north", "Fracture")).status_code == 302
    assert operator.get(address("nowhere")).status_code == 404
    listed = operator.get(reverse("admin:deployment_operatingpoint_changelist")).content.decode()
    assert "what-if/north/" in listed


def test_other_users_are_refused(north: Any, version: Any, sign_in: Any) -> None:
    for client in (Client(), sign_in(north, north.admin)):
        assert client.get(address("north")).status_code in (302, 403)


def test_a_step_is_counted_by_hand() -> None:
    data = RecentProbabilities(recent=[0.1, 0.3, 0.5, 0.9], days=2.0, present=[0.9, 0.3], absent=[0.5])
    found = threshold_effect(0.4, data, OperatingCurve(CURVE, 40, "test"))
    assert (found.flagged, found.share, found.per_day) == (2, 0.5, 1.0)
    assert (found.sensitivity, found.specificity) == (0.8, 0.7)
    assert (found.reader_sensitivity, found.reader_specificity) == (0.5, 0.0)
    nothing = threshold_effect(0.4, RecentProbabilities([], 1.0, [], []), None)
    assert (nothing.flagged, nothing.per_day, nothing.sensitivity, nothing.reader_specificity) == (0, None, None, None)
    many = RecentProbabilities([index / 1000 for index in range(1, 900)], 1.0, [], [])
    assert len(threshold_effects(many, None)) == 60
