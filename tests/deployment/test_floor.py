"""The floor: a version that shows less needs an operator's override, also where no evaluation set is kept."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.floor import failed_floor_checks, floor_checks
from apps.deployment.models import Activation, SwitchPreview
from apps.deployment.selectors import version_state, with_state
from apps.deployment.services import activate, challenge, request_activation, roll_back
from apps.evaluation.models import EvaluationSet
from apps.evaluation.services import store_evaluation
from apps.registry.models import ModelVersion
from ml.labels import LABELS
from tests.evaluation import synthetic
from tests.registry.versions import described

BY = Actor(name="test")


def with_figures(number: int, metrics: dict[str, Any], **data: str) -> ModelVersion:
    """A version that came with these figures of its training."""
    made = replace(described(number), metrics=metrics, data={"source": "synthetic", **data})
    return ModelVersion.objects.create(
        name="chest-net", number=number, sha256=made.sha256, manifest=made.to_dict(), device_uid=f"2.25.10{number}"
    )


def held_out(mean: float, low: float, high: float, **labels: float) -> dict[str, Any]:
    entries = {label: {"auroc": value, "ci95": [value - 0.02, value + 0.02]} for label, value in labels.items()}
    return {"validation": {"mean_auroc": mean, "ci95": [low, high], "labels": entries}}


def keep(version: ModelVersion, **changes: Any) -> None:
    """Store an evaluation of the quality 1.0 with these changes of its report."""
    report = synthetic.report(1.0) | changes
    store_evaluation(version=version, report=report, data=Path("/films"), split=None, by=BY)


def rules(version: ModelVersion, serving: ModelVersion | None) -> list[str]:
    return [check.rule for check in failed_floor_checks(version, serving)]


def test_chance_is_refused_and_says_what_to_do(db: None) -> None:
    """As train_model registers it: never evaluated, with the figures of its validation films."""
    chance = with_figures(1, held_out(0.52, 0.47, 0.57))
    with pytest.raises(CommandError, match=r"better than chance.*0\.470 to 0\.570.*--despite-gate --reason TEXT"):
        call_command("activate_model", str(chance))
    with pytest.raises(CommandError, match="give the reason"):
        call_command("activate_model", str(chance), "--despite-gate")
    assert not Activation.objects.exists()
    call_command(
        "activate_model", str(chance), "--despite-gate", "--reason", "A test of the line.", stdout=io.StringIO()
    )
    (kept,) = Activation.objects.get().despite_gates
    assert kept["set"] == "Floor: better than chance"
    assert "0.470" in kept["reason"]

    better = with_figures(2, held_out(0.62, 0.56, 0.68))
    warned = io.StringIO()
    call_command("activate_model", str(better), stdout=io.StringIO(), stderr=warned)
    assert "preview_switch chest-net:2" in warned.getvalue()
    # A rollback returns to what was approved, however bad it is.
    assert roll_back(by=BY).to_version == chance


def few_films(mean: float) -> dict[str, Any]:
    label = {"auroc": mean, "ci95": [mean, mean], "positives": 1, "films": 2}
    return {"n": 2, "patients": 2, "mean_auroc": mean, "ci95": [mean, mean], "labels": {"Mass": label}}


def test_an_evaluation_on_two_films_says_nothing(db: None) -> None:
    unknown, trained = with_figures(1, {}), with_figures(2, held_out(0.62, 0.56, 0.68))
    keep(unknown, **few_films(1.0))
    with pytest.raises(ConflictError, match="The films are too few"):
        activate(version=unknown, by=BY)
    # The figures of its training count, and not the two films.
    keep(trained, **few_films(0.0))
    assert failed_floor_checks(trained, None) == []
    # Nor are two versions compared on them.
    keep(unknown, **few_films(0.0))
    assert [check.passed for check in floor_checks(unknown, trained)] == [False, None]


def test_without_any_figures_a_version_is_refused_until_it_is_evaluated(db: None) -> None:
    unknown = with_figures(1, {})
    with pytest.raises(ConflictError, match=r"never evaluated.*manage\.py evaluate_model") as refusal:
        activate(version=unknown, by=BY)
    assert refusal.value.code == "below-floor"
    keep(unknown)
    assert activate(version=unknown, by=BY).despite_gates == []


def test_the_largest_evaluation_in_use_counts_and_not_the_training(first: ModelVersion) -> None:
    version = with_figures(2, held_out(0.8, 0.78, 0.82))
    keep(version, n=1000, mean_auroc=0.51, ci95=[0.46, 0.56], split={"id": "large", "sha256": "1" * 64})
    keep(version, n=200, split={"id": "small", "sha256": "2" * 64})
    assert rules(version, first) == ["better than chance"]
    assert version_state(with_state(ModelVersion.objects.filter(pk=version.pk)).get()) == "Candidate: below the floor"
    # Evaluated again on the same list: only the latest counts.
    keep(version, n=1000, split={"id": "large", "sha256": "1" * 64})
    assert rules(version, first) == []
    # A set that is switched off counts no more.
    EvaluationSet.objects.create(name="off", folder="/films", split="", films=2000, patients=9, is_active=False)
    keep(version, n=2000, mean_auroc=0.5, ci95=[0.4, 0.6], split={"id": "off", "sha256": "3" * 64})
    assert rules(version, first) == []


def test_a_label_an_alarm_rate_or_a_calibration_that_got_worse_is_refused(
    first: ModelVersion, second: ModelVersion, settings: Any
) -> None:
    alarms = {"n": 400, "by_view": {}, "by_label": {}}
    keep(first, ece={"platt": 0.02}, normals_flagged={**alarms, "share": 0.20})
    worse = synthetic.report(1.0)["labels"]
    worse["Mass"] = {**worse["Mass"], "auroc": worse["Mass"]["auroc"] - 0.12}
    keep(second, labels=worse, ece={"platt": 0.05}, normals_flagged={**alarms, "share": 0.30})
    assert rules(second, first) == ["AUROC of each label", "alarms on normal films", "calibration error"]
    reasons = " ".join(check.reason for check in failed_floor_checks(second, first))
    assert "Mass" in reasons
    assert not any(label in reasons for label in LABELS if label != "Mass")
    assert "20.0% → 30.0%" in reasons
    with pytest.raises(ConflictError, match="did not pass the floor"):
        challenge(version=second, by=BY, percent=10)
    settings.FLOOR_LABEL_DELTA = settings.FLOOR_ALARMS_DELTA = settings.FLOOR_ECE_DELTA = 0.2
    assert rules(second, first) == []


def test_small_differences_are_noise(first: ModelVersion, second: ModelVersion) -> None:
    """With 40 normal films, 10 points more alarms and a twentieth of AUROC less show nothing."""
    alarms = {"n": 40, "by_view": {}, "by_label": {}}
    keep(first, normals_flagged={**alarms, "share": 0.30})
    labels = {
        label: {**entry, "auroc": entry["auroc"] - 0.06} for label, entry in synthetic.report(1.0)["labels"].items()
    }
    keep(second, labels=labels, normals_flagged={**alarms, "share": 0.40})
    assert rules(second, first) == []
    (unknown,) = [check for check in floor_checks(second, first) if check.passed is None]
    assert unknown.rule == "calibration error"


def test_held_out_figures_pass_the_same_floor(first: ModelVersion) -> None:
    def came_with(number: int, share: float, error: float) -> ModelVersion:
        more = {
            "alarms": {"validation": {"share": share, "n": 400}},
            "calibration_error": {"validation": {"Mass": error}},
        }
        return with_figures(number, held_out(0.8, 0.78, 0.82, Mass=0.8) | more, split_sha256="a" * 64)

    serving = came_with(2, 0.2, 0.02)
    assert rules(came_with(3, 0.3, 0.05), serving) == ["alarms on normal films", "calibration error"]


def test_versions_are_compared_on_the_same_films_alone(first: ModelVersion) -> None:
    serving = with_figures(2, held_out(0.8, 0.78, 0.82, Mass=0.8), split_sha256="a" * 64)
    for split, expected in (("a" * 64, ["AUROC of each label"]), ("b" * 64, [])):
        version = with_figures(3 if expected else 4, held_out(0.7, 0.68, 0.72, Mass=0.7), split_sha256=split)
        assert rules(version, serving) == expected
    assert "not measured on the same films" in floor_checks(version, serving)[-1].reason


def test_a_request_in_the_console_needs_a_preview_or_the_reason_why_not(
    first: ModelVersion, second: ModelVersion, north: Any
) -> None:
    person = Actor(name="test", user_id=north.admin.pk)
    for ask in (activate, request_activation):
        with pytest.raises(ConflictError, match="Preview this switch first") as refusal:
            ask(version=second, by=person, why_no_preview=" ")
        assert refusal.value.code == "preview-missing"
    assert request_activation(version=second, by=person, why_no_preview="Urgent.").why_no_preview == "Urgent."
    SwitchPreview.objects.create(
        for_tenant=north.tenant, from_version=first, to_version=second, studies=1,
        report_json='{"points": {}, "labels": {}}', sha256="c" * 64, actor="test",
    )  # fmt: skip
    entry = activate(version=second, by=person, why_no_preview="")
    assert (entry.previews, entry.why_no_preview) == ({str(north.tenant.pk): "c" * 64}, "")
