"""A switch keeps the operating points that tenants chose, or says why it cannot."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.deployment.ledger.point_changes import point_changes
from apps.deployment.models import Activation, ActivationRequest, SwitchPreview
from apps.deployment.points import Point, PointChoice, resolve_choice
from apps.deployment.selectors import thresholds_for
from apps.deployment.services import (
    activate,
    challenge,
    is_current_preview,
    request_activation,
    retire,
    roll_back,
    set_points,
    unpin,
)
from apps.registry.models import ModelVersion
from apps.trials.preview_report import PairedProbabilities, preview_report
from apps.trials.services import store_preview

BY_HAND = PointChoice("manual", value=0.33, reason="By the tumour board.")


def choose(hospital: Any, version: ModelVersion, label: str, choice: PointChoice | None) -> Activation:
    return set_points(
        tenant=hospital.tenant, version=version, choices={label: choice}, recent={}, by=Actor(name="test")
    )


def read_alike(version: ModelVersion, scores: list[float]) -> PairedProbabilities:
    same = dict.fromkeys(version.manifest["labels"], scores)
    return PairedProbabilities(current=same, candidate=same, studies=len(scores), refused=0)


@pytest.mark.parametrize(("flagged", "is_proposed"), [(0, False), (4, False), (5, True), (25, True), (26, False)])
def test_a_sample_too_small_for_a_threshold_proposes_none(
    first: ModelVersion, second: ModelVersion, flagged: int, is_proposed: bool
) -> None:
    """With identical scores the same point would be right, but a small sample does not determine a threshold."""
    scores = [0.1 + index / 1000 for index in range(30 - flagged)] + [0.5 + index / 1000 for index in range(flagged)]
    report = preview_report(first, second, {"Mass": Point(0.4, "manual", None, "x")}, read_alike(first, scores))
    entry = report["labels"]["Mass"]
    assert (entry["proposed"] is not None) == is_proposed
    if is_proposed:
        assert 0.129 < entry["proposed"]["value"] <= 0.5
    else:
        assert f"{flagged} of 30 studies were flagged: to find a threshold" in entry["note"]


def test_a_share_needs_enough_studies_to_flag_one(first: ModelVersion) -> None:
    recent = [index / 100 for index in range(40)]
    with pytest.raises(InvalidInputError, match=r"a share of 2.0% needs at least 50 recent studies"):
        resolve_choice(first, "Mass", PointChoice("alert_rate", 0.02), None, recent)
    assert resolve_choice(first, "Mass", PointChoice("alert_rate", 0.025), None, recent).value == pytest.approx(0.385)


def test_a_preview_without_a_proposal_says_why_in_the_refusal(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    choose(north, first, "Mass", BY_HAND)
    kept = previewed(north, first, second, [0.1] * 30)
    assert is_current_preview(kept)
    with pytest.raises(ConflictError, match=r"proposes none. 0 of 30 studies were flagged"):
        activate(version=second, by=Actor(name="test"))
    choose(north, first, "Mass", PointChoice("manual", value=0.5, reason="Fewer."))
    assert not is_current_preview(kept), "Other points are in force."


def previewed(hospital: Any, before: ModelVersion, after: ModelVersion, scores: list[float]) -> SwitchPreview:
    read = read_alike(before, scores)
    return store_preview(
        tenant=hospital.tenant, from_version=before, to_version=after, probabilities=read, by=Actor(name="test")
    )


def test_unpinning_can_drop_the_tenants_points(north: Any, first: ModelVersion, second: ModelVersion) -> None:
    activate(version=second, by=Actor(name="test"), tenant=north.tenant)
    choose(north, second, "Mass", BY_HAND)
    with pytest.raises(CommandError, match="--own-points"):
        call_command("activate_model", unpin=True, tenant="north")
    call_command("activate_model", unpin=True, tenant="north", own_points=True)
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.5
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(second, north.tenant.pk)["Mass"] == 0.33
    with pytest.raises(ConflictError, match="preview_switch"):
        unpin(tenant=north.tenant, by=Actor(name="test"))


def test_a_request_that_could_not_be_confirmed_is_refused(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    choose(north, first, "Mass", BY_HAND)
    for percent in (None, 10):
        with pytest.raises(ConflictError, match="preview_switch chest-net:2"):
            request_activation(version=second, by=Actor(name="one", user_id=north.admin.pk), percent=percent)
    request_activation(version=second, by=Actor(name="one", user_id=north.admin.pk), keeps_points=False)
    retire(version=second, by=Actor(name="test"))
    assert not ActivationRequest.objects.filter(line=None, withdrawn=None).exists()


def test_an_unchanged_choice_leaves_no_ledger_entry(north: Any, first: ModelVersion) -> None:
    choose(north, first, "Mass", BY_HAND)
    for label, choice in (("Mass", BY_HAND), ("Fibrosis", None)):
        with pytest.raises(ConflictError, match="in force already"):
            choose(north, first, label, choice)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.5


def test_the_history_leaves_challengers_out_and_names_the_versions_own_points(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    choose(north, first, "Mass", PointChoice("sensitivity", 0.8))
    challenge(version=second, by=Actor(name="test"))
    choose(north, first, "Hernia", BY_HAND)
    changes = [(each.label, each.before, each.after) for each in point_changes(north.tenant.pk)]
    assert changes == [
        ("Hernia", "no operating point", "0.330 (set by hand)"),
        ("Mass", "0.500 (the version's own)", "0.400 (fixed sensitivity 0.80)"),
    ]
