"""Operating points belong to a version and a tenant, and are carried over when the version changes."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.models import Activation, ActivationRequest, OperatingPoint
from apps.deployment.points import OperatingCurve, Point, PointChoice, resolve_choice, threshold_for_share
from apps.deployment.selectors import thresholds_for, version_for
from apps.deployment.services import (
    activate,
    approve,
    request_activation,
    retire,
    roll_back,
    set_points,
    unpin,
    withdraw_request,
)
from apps.registry.models import ModelVersion
from apps.trials.preview_report import PairedProbabilities, preview_report
from tests.registry.versions import CURVE, registered

RECENT = [index / 100 for index in range(1, 101)]


def choose(hospital: Any, version: ModelVersion, label: str, choice: PointChoice | None) -> Activation:
    return set_points(
        tenant=hospital.tenant,
        version=version,
        choices={label: choice},
        recent={label: RECENT},
        by=Actor(name="test"),
        reason="Tried for a month.",
    )


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        (PointChoice("youden"), 0.5),
        (PointChoice("sensitivity", 0.8), 0.4),
        (PointChoice("sensitivity", 0.81), 0.2),
        (PointChoice("specificity", 0.9), 0.6),
        (PointChoice("specificity", 0.71), 0.6),
        (PointChoice("alert_rate", 0.1), 0.905),
        (PointChoice("manual", value=0.33, reason="The tumour board asked for it."), 0.33),
    ],
)
def test_a_choice_holds_for_one_tenant_and_finding(
    north: Any, south: Any, first: ModelVersion, choice: PointChoice, value: float
) -> None:
    entry = choose(north, first, "Effusion", choice)

    assert thresholds_for(first, north.tenant.pk)["Effusion"] == pytest.approx(value)
    others = {label: value for label, value in thresholds_for(first, north.tenant.pk).items() if label != "Effusion"}
    assert others == {label: None if label == "Hernia" else 0.5 for label in others}
    assert thresholds_for(first, south.tenant.pk)["Effusion"] == 0.5
    assert (entry.act, entry.for_tenant, entry.from_version, entry.to_version) == ("points", north.tenant, first, first)
    assert entry.points_before == {str(north.tenant.pk): {}}
    assert entry.points_after[str(north.tenant.pk)]["Effusion"]["value"] == pytest.approx(value)

    choose(north, first, "Effusion", None)
    assert thresholds_for(first, north.tenant.pk)["Effusion"] == 0.5


@pytest.mark.parametrize(
    ("label", "choice", "message"),
    [
        ("Fracture", PointChoice("youden"), "not a finding of chest-net:1"),
        ("Mass", PointChoice("luck"), "is not one of youden"),
        ("Mass", PointChoice("sensitivity"), "give the sensitivity as a number"),
        ("Mass", PointChoice("specificity", 1.5), "give the specificity as a number"),
        ("Mass", PointChoice("manual", value=0.0, reason="x"), "between 0 and 1"),
        ("Mass", PointChoice("manual", value=0.3, reason=" "), "give the reason"),
        ("Hernia", PointChoice("sensitivity", 0.9), "fewer than 10 positive films"),
        ("Hernia", PointChoice("alert_rate", 0.1), "fewer than 10 positive films"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(
    north: Any, first: ModelVersion, label: str, choice: PointChoice, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        set_points(
            tenant=north.tenant,
            version=first,
            choices={"Effusion": PointChoice("sensitivity", 0.8), label: choice},
            recent={label: RECENT},
            by=Actor(name="test"),
        )
    assert not OperatingPoint.objects.exists()
    assert Activation.objects.count() == 1


def test_few_positives_by_hand_with_a_reason(north: Any, first: ModelVersion) -> None:
    choose(north, first, "Hernia", PointChoice("manual", value=0.2, reason="Surgeons want every one."))
    assert thresholds_for(first, north.tenant.pk)["Hernia"] == 0.2


def test_a_version_without_a_curve_names_the_command_that_evaluates_it(first: ModelVersion) -> None:
    with pytest.raises(InvalidInputError, match="evaluate_model --version chest-net:1"):
        resolve_choice(first, "Mass", PointChoice("sensitivity", 0.8), None, ())
    with pytest.raises(InvalidInputError, match="at least 20 recent studies, and there are 3"):
        resolve_choice(first, "Mass", PointChoice("alert_rate", 0.1), None, RECENT[:3])


def test_the_threshold_for_a_share_never_exceeds_it() -> None:
    for rate in (0.01, 0.1, 0.255, 0.5, 0.99):
        threshold = threshold_for_share(RECENT, rate)
        assert rate - 0.011 <= sum(value >= threshold for value in RECENT) / 100 <= rate
    # Half of the studies score the same: they are flagged together, or not at all.
    tied = [0.9] * 5 + [0.4] * 50 + [0.1] * 45
    assert sum(value >= threshold_for_share(tied, 0.2) for value in tied) == 5
    assert sum(value >= threshold_for_share(tied, 0.01) for value in tied) == 0


def test_between_vertices_a_curve_takes_the_one_above() -> None:
    curve = OperatingCurve(CURVE, 40, "test")
    assert [curve.at(value) for value in (0.9, 0.8, 0.5, 0.1)] == [(0.0, 1.0), (0.3, 1.0), (0.6, 0.9), (1.0, 0.0)]


def test_a_switch_keeps_the_sensitivity_and_a_rollback_brings_both_back(
    north: Any, south: Any, first: ModelVersion, second: ModelVersion
) -> None:
    choose(north, first, "Effusion", PointChoice("sensitivity", 0.8))
    entry = activate(version=second, by=Actor(name="test"))

    # The same threshold would have cut the sensitivity from 0.8 to 0.3.
    assert thresholds_for(second, north.tenant.pk)["Effusion"] == pytest.approx(0.2)
    assert thresholds_for(second, south.tenant.pk)["Effusion"] == pytest.approx(0.25)
    assert entry.points_after[str(north.tenant.pk)]["Effusion"]["target"] == 0.8
    assert entry.points_before[str(north.tenant.pk)]["Effusion"]["value"] == 0.4

    # Whatever is written for a version that does not serve, a rollback restores what was in force.
    OperatingPoint.objects.filter(model_version=first).update(value=0.99)
    roll_back(by=Actor(name="test"))
    assert version_for(north.tenant.pk) == first
    assert thresholds_for(first, north.tenant.pk)["Effusion"] == 0.4


def test_a_choice_that_needs_a_preview_stops_the_switch(north: Any, first: ModelVersion, second: ModelVersion) -> None:
    choose(north, first, "Mass", PointChoice("alert_rate", 0.1))
    with pytest.raises(ConflictError, match="preview_switch chest-net:2 --tenant north"):
        activate(version=second, by=Actor(name="test"))
    assert version_for(north.tenant.pk) == first
    assert not OperatingPoint.objects.filter(model_version=second).exists()

    activate(version=second, by=Actor(name="test"), keeps_points=False)
    assert thresholds_for(second, north.tenant.pk)["Mass"] == 0.25


def test_a_version_without_a_curve_stops_the_switch(north: Any, first: ModelVersion) -> None:
    bare = registered(3, curve=False)
    choose(north, first, "Mass", PointChoice("sensitivity", 0.8))
    with pytest.raises(ConflictError, match="evaluate_model --version chest-net:3"):
        activate(version=bare, by=Actor(name="test"))


def test_the_platform_leaves_a_pinned_tenants_points_alone(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    activate(version=first, by=Actor(name="test"), tenant=north.tenant)
    choose(north, first, "Mass", PointChoice("alert_rate", 0.1))
    entry = activate(version=second, by=Actor(name="test"))
    assert entry.points_after == {}
    assert thresholds_for(first, north.tenant.pk)["Mass"] == pytest.approx(0.905)

    # To follow the platform is a switch like any other.
    with pytest.raises(ConflictError, match="preview_switch"):
        unpin(tenant=north.tenant, by=Actor(name="test"))
    choose(north, first, "Mass", PointChoice("sensitivity", 0.8))
    unpin(tenant=north.tenant, by=Actor(name="test"))
    assert thresholds_for(second, north.tenant.pk)["Mass"] == pytest.approx(0.2)


def test_points_are_set_only_for_the_version_that_was_shown(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    activate(version=second, by=Actor(name="test"))
    with pytest.raises(ConflictError, match="chest-net:2 serves North Hospital now"):
        choose(north, first, "Mass", PointChoice("sensitivity", 0.8))


def test_a_retired_version_cannot_serve(north: Any, first: ModelVersion, second: ModelVersion) -> None:
    with pytest.raises(ConflictError, match="is in service"):
        retire(version=first, by=Actor(name="test"))
    activate(version=second, by=Actor(name="test"))
    retire(version=first, by=Actor(name="test"), reason="Too many false alarms.")
    for refused in (
        lambda: activate(version=first, by=Actor(name="test")),
        lambda: activate(version=first, by=Actor(name="test"), tenant=north.tenant),
        lambda: roll_back(by=Actor(name="test")),
        lambda: retire(version=first, by=Actor(name="test")),
    ):
        with pytest.raises(ConflictError, match="retired"):
            refused()
    last = Activation.objects.first()
    assert last is not None
    assert (last.act, last.to_version, last.reason) == ("retired", first, "Too many false alarms.")


def test_a_second_operator_confirms(north: Any, first: ModelVersion, second: ModelVersion, settings: Any) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    with pytest.raises(NotPermittedError, match="second operator"):
        activate(version=second, by=Actor(name="test"))
    asked = request_activation(version=second, by=Actor(name="one", user_id=north.admin.pk), reason="Better.")
    assert version_for(north.tenant.pk) == first
    with pytest.raises(NotPermittedError, match="second operator"):
        approve(request=asked, by=Actor(name="test", user_id=north.admin.pk))

    entry = approve(request=asked, by=Actor(name="test", user_id=north.radiologist.pk))
    assert version_for(north.tenant.pk) == second
    assert (entry.by, entry.second, entry.reason) == (north.admin, north.radiologist, "Better.")
    with pytest.raises(ConflictError, match="already"):
        approve(request=asked, by=Actor(name="test", user_id=north.technologist.pk))
    # Back goes without waiting: it was approved once.
    roll_back(by=Actor(name="test"))
    assert version_for(north.tenant.pk) == first


def test_a_request_is_valid_only_while_the_same_version_serves(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    old = request_activation(version=second, by=Actor(name="one", user_id=north.admin.pk))
    new = request_activation(version=second, by=Actor(name="one", user_id=north.admin.pk))
    assert new.waiting_message.endswith(f"It replaces the request for chest-net:2 for whole platform of {north.admin}.")
    with pytest.raises(ConflictError, match="replaced by the one for chest-net:2 for whole platform"):
        approve(request=old, by=Actor(name="test", user_id=north.radiologist.pk))
    activate(version=registered(3), by=Actor(name="test"))
    with pytest.raises(ConflictError, match="chest-net:3 is in service now"):
        approve(request=new, by=Actor(name="test", user_id=north.radiologist.pk))
    withdraw_request(request=new)
    with pytest.raises(ConflictError, match="withdrawn already"):
        withdraw_request(request=new)
    assert not ActivationRequest.objects.filter(line=None, withdrawn=None).exists()


def test_concurrent_changes_of_points_and_versions_stay_consistent(
    north: Any, first: ModelVersion, second: ModelVersion
) -> None:
    """However they are interleaved, what the tenant chose last is in force on whichever version serves at the end."""
    choose(north, first, "Mass", PointChoice("sensitivity", 0.8))

    def change_something(step: int) -> str:
        try:
            if step % 2:
                activate(version=(first, second)[step // 2 % 2], by=Actor(name="test"))
            else:
                choose(north, (first, second)[step // 2 % 2], "Mass", PointChoice("sensitivity", 0.95))
        except ConflictError as error:
            return error.detail
        finally:
            connection.close()
        return "changed"

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(change_something, range(30)))
    assert all(re.search("changed|now|already", each) for each in results)
    serving = version_for(north.tenant.pk)
    assert serving is not None
    last = Activation.objects.first()
    assert last is not None
    assert last.to_version == serving
    point = last.points_after[str(north.tenant.pk)]["Mass"]
    assert thresholds_for(serving, north.tenant.pk)["Mass"] == point["value"]
    assert point["target"] == 0.95


def test_a_version_that_reads_fewer_findings(north: Any, first: ModelVersion) -> None:
    fewer = registered(5, scale=0.5)
    fewer.manifest["labels"].remove("Mass")
    fewer.manifest["labels"].remove("Effusion")
    for part in ("thresholds", "calibration"):
        for label in ("Mass", "Effusion"):
            del fewer.manifest[part][label]
    # As an imported version may: its source does not say on how many films the threshold was chosen.
    fewer.manifest["thresholds"]["Nodule"]["positives"] = None
    fewer.manifest["metrics"].pop("operating_curve")
    fewer.save()
    choose(north, first, "Mass", PointChoice("sensitivity", 0.8))
    studies = [0.1, 0.6, 0.9]
    read = PairedProbabilities(
        current=dict.fromkeys(first.manifest["labels"], studies),
        candidate=dict.fromkeys(fewer.manifest["labels"], studies),
        studies=3,
        refused=0,
    )
    report = preview_report(first, fewer, {"Mass": Point(0.4, "sensitivity", 0.8)}, read)
    assert report["labels"]["Mass"]["note"] == "Only chest-net:1 reads this finding."
    assert (report["labels"]["Mass"]["flagged_before"], report["labels"]["Mass"]["turned_off"]) == (2, 2)
    assert report["labels"]["Nodule"]["flagged_after"] == 2

    activate(version=fewer, by=Actor(name="test"))
    assert "Mass" not in thresholds_for(fewer, north.tenant.pk)
    with pytest.raises(InvalidInputError, match="fewer than 10 positive films"):
        choose(north, fewer, "Nodule", PointChoice("sensitivity", 0.9))
    # A share of the hospital's own studies needs no films of known truth.
    choose(north, fewer, "Nodule", PointChoice("alert_rate", 0.1))
    assert thresholds_for(fewer, north.tenant.pk)["Nodule"] == pytest.approx(0.905)
    fewer.manifest["thresholds"]["Nodule"]["positives"] = 3
    fewer.save()
    with pytest.raises(InvalidInputError, match="fewer than 10 positive films"):
        choose(north, fewer, "Nodule", PointChoice("alert_rate", 0.1))
    roll_back(by=Actor(name="test"))
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.4
