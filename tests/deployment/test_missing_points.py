"""Missing operating points: an activation warns of each finding that loses its point."""

import io
from typing import Any

from django.core.management import call_command

from apps.audit.services import Actor
from apps.deployment.ledger.lost_points import lost_points, lost_points_warning
from apps.deployment.points import PointChoice
from apps.deployment.services import activate, challenge, roll_back, set_points
from apps.registry.missing_points import missing_points_warning
from apps.registry.models import ModelVersion
from tests.registry.versions import registered


def without_points(number: int, *labels: str) -> ModelVersion:
    version = registered(number)
    for label in labels or version.manifest["labels"]:
        version.manifest["thresholds"][label] = None
    version.save()
    return version


def test_activating_a_version_without_points_warns(first: ModelVersion) -> None:
    bare = without_points(2)
    output, warnings = io.StringIO(), io.StringIO()
    call_command("activate_model", "chest-net:2", stdout=output, stderr=warnings)
    assert "chest-net:2 is in service (before: chest-net:1)" in output.getvalue()
    assert "No operating point any more, so never flagged: Atelectasis, Cardiomegaly" in warnings.getvalue()
    assert "Hernia" not in warnings.getvalue(), "Neither version has an operating point for it."
    assert (
        missing_points_warning(bare)
        == "chest-net:2 has no operating points: it flags nothing until a tenant chooses some."
    )
    assert lost_points_warning(roll_back(by=Actor(name="test"))) == ""


def test_a_shadow_without_points_is_compared_on_nothing(first: ModelVersion) -> None:
    entry = challenge(version=without_points(2), percent=None, by=Actor(name="test"))
    assert lost_points_warning(entry).startswith("Not compared: Atelectasis, Cardiomegaly")


def test_the_first_activation_warns_of_missing_points(db: None) -> None:
    entry = activate(version=without_points(1, "Mass", "Hernia"), by=Actor(name="test"))
    assert lost_points_warning(entry).startswith("chest-net:1 has no operating point for Mass, Hernia")
    assert lost_points(entry) == []


def test_points_that_tenants_chose_count(north: Any, south: Any, first: ModelVersion) -> None:
    def choose(version: ModelVersion, label: str) -> None:
        by_hand = PointChoice("manual", value=0.3, reason="By the tumour board.")
        set_points(tenant=north.tenant, version=version, choices={label: by_hand}, recent={}, by=Actor(name="test"))

    lacking = without_points(2, "Mass")
    choose(first, "Hernia")
    entry = activate(version=lacking, by=Actor(name="test"), tenant=south.tenant)
    assert lost_points(entry) == ["Mass"]
    # North loses its own point for Hernia, and the rest of the platform loses the one for Mass.
    entry = activate(version=lacking, by=Actor(name="test"), keeps_points=False)
    assert lost_points(entry) == ["Hernia", "Mass"]
    choose(lacking, "Mass")
    back = activate(version=first, by=Actor(name="test"), tenant=north.tenant, keeps_points=False)
    assert lost_points(back) == []


def test_a_challenger_without_points_is_reported(first: ModelVersion) -> None:
    lacking = without_points(2, "Mass")
    assert lost_points(challenge(version=lacking, by=Actor(name="test"), percent=10)) == ["Mass"]
