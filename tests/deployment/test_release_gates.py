"""Release gates: a version that may be worse than the one in service needs an operator's override."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.models import Activation, ActivationRequest
from apps.deployment.release_gates import ReleaseGateState, release_gates_of
from apps.deployment.selectors import version_for, version_state, with_state
from apps.deployment.services import activate, approve, challenge, request_activation, request_evaluations, roll_back
from apps.evaluation.models import Evaluation
from apps.evaluation.services import EVALUATIONS, complete_evaluation, store_evaluation
from apps.registry.models import ModelVersion
from tests.conftest import PASSWORD
from tests.evaluation import synthetic
from tests.evaluation.films import write_layout
from tests.registry.versions import registered


def state_of(version: ModelVersion) -> str:
    return version_state(with_state(ModelVersion.objects.filter(pk=version.pk)).get())


def only_gate(version: ModelVersion) -> Any:
    (gate,) = release_gates_of(version)
    return gate


@pytest.mark.parametrize(
    ("quality", "noise", "state"),
    [
        (1.0, 1, ReleaseGateState.PASSED),  # the very same scores
        (1.3, 2, ReleaseGateState.PASSED),
        (0.7, 2, ReleaseGateState.FAILED),
    ],
)
def test_a_version_is_compared_with_the_one_in_service(
    first: ModelVersion, second: ModelVersion, quality: float, noise: int, state: ReleaseGateState
) -> None:
    films = synthetic.a_set()
    synthetic.measured(first, films, 1.0)
    synthetic.measured(second, films, quality, noise=noise)
    gate = only_gate(second)
    assert (gate.state, gate.serving) == (state, first)
    low, high = gate.ci95
    assert low <= gate.difference <= high
    assert state_of(second) == ("Verified" if state == ReleaseGateState.PASSED else "Candidate: release gate failed")
    assert release_gates_of(first) == []


def test_a_handful_of_films_shows_nothing(first: ModelVersion, second: ModelVersion) -> None:
    """On two films the difference is often 0 in every round, which is no interval."""
    films = synthetic.a_set()
    for version in (first, second):
        report = synthetic.report(1.0)
        for figures in report["labels"].values():
            figures["positives"] = 9
        store_evaluation(version=version, report=report, data=Path(films.folder), split=None, by=Actor(name="test"))
    gate = only_gate(second)
    assert gate.state == ReleaseGateState.FAILED
    assert "too few" in gate.reason


def test_the_limit_is_a_setting(first: ModelVersion, second: ModelVersion, settings: Any) -> None:
    films = synthetic.a_set()
    synthetic.measured(first, films, 1.0)
    synthetic.measured(second, films, 0.95, noise=2)
    low, _ = only_gate(second).ci95
    for delta, state in ((-low + 0.001, ReleaseGateState.PASSED), (-low - 0.001, ReleaseGateState.FAILED)):
        settings.GATE_DELTA = delta
        assert only_gate(second).state == state


def test_the_interval_is_paired(first: ModelVersion, second: ModelVersion) -> None:
    """Equal scores differ by nothing in every round, however wide each one's own interval is."""
    films = synthetic.a_set()
    for version in (first, second):
        synthetic.measured(version, films, 1.0)
    assert only_gate(second).ci95 == (0.0, 0.0)
    own = Evaluation.objects.first()
    assert own is not None
    assert own.report["ci95"][1] - own.report["ci95"][0] > 0.01


@pytest.mark.parametrize(
    ("change", "reason", "state"),
    [
        # The version in service is measured again.
        (lambda found: found.pop("bootstrap"), "an earlier release", ReleaseGateState.WAITING),
        (
            lambda found: found["labels"]["Mass"].update(auroc=None),
            "different findings",
            ReleaseGateState.NOT_COMPARABLE,
        ),
    ],
)
def test_incomparable_evaluations_give_the_reason(
    first: ModelVersion, second: ModelVersion, change: Any, reason: str, state: ReleaseGateState
) -> None:
    films = synthetic.a_set()
    found = synthetic.report(1.0)
    change(found)
    store_evaluation(version=first, report=found, data=Path(films.folder), split=None, by=Actor(name="test"))
    synthetic.measured(second, films, 1.0)
    gate = only_gate(second)
    assert gate.state == state
    assert reason in gate.reason
    with pytest.raises(ConflictError, match=reason):
        activate(version=second, by=Actor(name="test"))
    (kept,) = activate(version=second, by=Actor(name="test"), despite_gate=True, reason="Read by hand.").despite_gates
    assert reason in kept["reason"]


def test_changed_films_evaluate_the_version_in_service_again(first: ModelVersion, second: ModelVersion) -> None:
    films = synthetic.a_set()
    synthetic.measured(first, films, 1.0)
    request_evaluations(version=second)
    (job,) = EVALUATIONS.claim(worker="test")
    complete_evaluation(job=job, report=synthetic.report(1.1, seed=5))
    gate = only_gate(second)
    assert (gate.state, "changed" in gate.reason) == (ReleaseGateState.WAITING, True)
    (again,) = EVALUATIONS.claim(worker="test")
    assert again.model_version == first
    complete_evaluation(job=again, report=synthetic.report(1.0, seed=5))
    assert only_gate(second).state == ReleaseGateState.PASSED


def test_a_gate_waits_for_both_evaluations(first: ModelVersion, second: ModelVersion) -> None:
    synthetic.a_set()
    assert "never evaluated" in only_gate(second).reason
    assert request_evaluations(version=second) == 2
    assert request_evaluations(version=second) == 0
    assert only_gate(second).state == ReleaseGateState.WAITING
    for version in (second, first):
        (job,) = EVALUATIONS.claim(worker="test")
        assert job.model_version == version
        if version == second:
            complete_evaluation(job=job, report=synthetic.report(1.0))
            assert state_of(second) == "Candidate: release gate waits"
        else:
            EVALUATIONS.reject(job=job, reason="It was trained on 3 of the patients.")
        with pytest.raises(ConflictError, match="did not pass the release gate"):
            activate(version=second, by=Actor(name="test"))
    gate = only_gate(second)
    assert gate.state == ReleaseGateState.NOT_COMPARABLE
    assert gate.reason == f"{first} could not be evaluated: It was trained on 3 of the patients."
    assert state_of(second) == "Candidate: release gate not comparable"


def test_the_first_version_needs_no_release_gate(db: None) -> None:
    synthetic.a_set()
    first = registered(1)
    request_evaluations(version=first)
    assert only_gate(first).state == ReleaseGateState.WAITING
    assert activate(version=first, by=Actor(name="test")).despite_gates == []


@pytest.fixture
def worse(first: ModelVersion, second: ModelVersion) -> ModelVersion:
    films = synthetic.a_set()
    synthetic.measured(first, films, 1.0)
    synthetic.measured(second, films, 0.5, noise=2)
    return second


def test_a_failed_gate_prevents_activation(worse: ModelVersion, first: ModelVersion, north: Any) -> None:
    for tenant in (None, north.tenant):
        with pytest.raises(ConflictError, match=r"did not pass the release gate.*--despite-gate") as refusal:
            activate(version=worse, by=Actor(name="test"), reason="Newer.", tenant=tenant)
        assert refusal.value.code == "gate-failed"
    with pytest.raises(InvalidInputError, match="give the reason"):
        activate(version=worse, by=Actor(name="test"), despite_gate=True)
    assert version_for(north.tenant.pk) == first
    assert Activation.objects.count() == 1

    entry = activate(version=worse, by=Actor(name="test"), despite_gate=True, reason="It reads portable films.")
    below, kept = entry.despite_gates
    assert below["set"] == "Floor: AUROC of each label"
    assert (kept["set"], kept["serving"]) == ("public", str(first))
    assert kept["ci95"][0] < -0.02
    # A rollback needs no second approval: it returns to what was approved.
    assert roll_back(by=Actor(name="test")).despite_gates == []
    assert version_for(north.tenant.pk) == first


def test_a_version_that_failed_may_be_a_shadow_but_no_canary(worse: ModelVersion) -> None:
    with pytest.raises(ConflictError, match="for no patient") as refusal:
        challenge(version=worse, by=Actor(name="test"), percent=10)
    assert refusal.value.code == "gate-failed"
    assert challenge(version=worse, by=Actor(name="test")).act == Activation.Act.SHADOW
    with pytest.raises(InvalidInputError, match="give the reason"):
        challenge(version=worse, by=Actor(name="test"), percent=10, despite_gate=True)
    entry = challenge(version=worse, by=Actor(name="test"), percent=10, despite_gate=True, reason="Portable films.")
    assert (entry.act, len(entry.despite_gates)) == (Activation.Act.CANARY, 2)
    # A smaller share needs no override.
    assert challenge(version=worse, by=Actor(name="test"), percent=5).percent == 5


def test_the_command_needs_the_flag_and_the_reason(worse: ModelVersion, first: ModelVersion) -> None:
    with pytest.raises(CommandError, match="did not pass the release gate"):
        call_command("activate_model", str(worse))
    with pytest.raises(CommandError, match="give the reason"):
        call_command("activate_model", str(worse), "--despite-gate")
    out = io.StringIO()
    call_command("activate_model", str(worse), "--despite-gate", "--reason", "Portable films.", stdout=out)
    assert "is in service" in out.getvalue()


def test_a_second_operator_confirms_an_override(worse: ModelVersion, settings: Any) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    people = [User.objects.create_user(f"{name}@platform.example", PASSWORD) for name in ("one", "two")]
    with pytest.raises(ConflictError, match="did not pass the release gate"):
        request_activation(version=worse, by=Actor(name="test", user_id=people[0].pk))
    asked = request_activation(
        version=worse, by=Actor(name="test", user_id=people[0].pk), despite_gate=True, reason="Portable."
    )
    assert len(approve(request=asked, by=Actor(name="test", user_id=people[1].pk)).despite_gates) == 2


def test_the_command_names_the_operator_where_a_second_one_must_confirm(second: Any, settings: Any) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    one = User.objects.create_user("one@platform.example", PASSWORD, is_staff=True)
    User.objects.create_user("reader@platform.example", PASSWORD)
    with pytest.raises(CommandError, match="name the operator who requests it"):
        call_command("activate_model", str(second))
    with pytest.raises(CommandError, match="no active operator"):
        call_command("activate_model", str(second), "--operator", "reader@platform.example")
    call_command("activate_model", str(second), "--operator", "ONE@platform.example", stdout=io.StringIO())
    asked = ActivationRequest.objects.get()
    with pytest.raises(NotPermittedError, match="second operator"):
        approve(request=asked, by=Actor(name="test", user_id=one.pk))


def test_without_evaluation_sets_there_is_no_gate(second: ModelVersion) -> None:
    assert request_evaluations(version=second) == 0
    assert release_gates_of(second) == []
    activate(version=second, by=Actor(name="test"))


def test_an_evaluation_by_command_counts_for_the_set(first: ModelVersion, second: ModelVersion) -> None:
    films = synthetic.a_set()
    synthetic.measured(second, films, 1.0)
    kept = Evaluation.objects.get()
    assert kept.evaluation_set == films
    synthetic.measured(second, type(films)(folder="/elsewhere"), 1.0)
    elsewhere = Evaluation.objects.first()
    assert elsewhere is not None
    assert elsewhere.evaluation_set is None


def sets(*options: str) -> str:
    out = io.StringIO()
    call_command("evaluation_sets", *options, stdout=out)
    return out.getvalue()


def test_sets_are_added_listed_and_turned_off(db: None, tmp_path: Path) -> None:
    films = write_layout(tmp_path / "films", patients=6, test=2)
    with pytest.raises(CommandError, match="Data_Entry_2017"):
        sets("--add", "none", "--data", str(tmp_path))
    assert "4 films of 2 patients" in sets("--add", "public", "--data", str(films))
    with pytest.raises(CommandError, match="name or of these films"):
        sets("--add", "again", "--data", str(films))
    with pytest.raises(CommandError, match="is not a valid name"):
        sets("--add", "no name", "--data", str(films))
    assert "(off)" in sets("--off", "public")
    with pytest.raises(CommandError, match="There is no evaluation set 'x'"):
        sets("--off", "x")
    assert "(off)" not in sets("--on", "public")
