"""Challengers: which versions may start, their operating points, what ends a trial, and its ledger entries."""

import io
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.deployment.models import Activation, ActivationRequest, Challenger, canary_reads
from apps.deployment.points import PointChoice
from apps.deployment.selectors import challenger_for, thresholds_for, version_for, version_state, with_state
from apps.deployment.services import (
    activate,
    approve,
    challenge,
    challenge_or_request,
    end_challenge,
    retire,
    roll_back,
    set_points,
    unpin,
)
from apps.registry.models import ModelVersion
from tests.conftest import PASSWORD
from tests.registry.versions import registered


def run(*arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("challenge_model", *arguments, stdout=out, **options)
    return out.getvalue()


def state(version: ModelVersion) -> str:
    return version_state(with_state(ModelVersion.objects.filter(pk=version.pk)).get())


def acts() -> list[tuple[str, int | None]]:
    return list(Activation.objects.order_by("number").values_list("act", "percent"))


def test_a_canarys_share_is_repeatable_and_only_grows() -> None:
    challenger = uuid.UUID(int=7)
    studies = [uuid.UUID(int=number) for number in range(2000)]
    before: set[uuid.UUID] = set()
    for percent in (1, 10, 25, 50, 90, 99):
        taken = {study for study in studies if canary_reads(challenger, percent, study)}
        assert abs(len(taken) / 20 - percent) < 3
        assert taken == {study for study in studies if canary_reads(challenger, percent, study)}
        assert before <= taken
        before = taken
    other = {study for study in studies if canary_reads(uuid.UUID(int=8), 50, study)}
    assert other != {study for study in studies if canary_reads(challenger, 50, study)}


def test_from_shadow_to_canary_to_service_by_command(first: ModelVersion, second: ModelVersion, north: Any) -> None:
    assert state(second) == "Candidate"
    assert "chest-net:2 reads in the shadow beside chest-net:1" in run("chest-net:2", "--shadow", reason="Trial.")
    assert state(second) == "Shadow"
    assert "10 % of the studies" in run("chest-net:2", "--canary", "10", "--reason", "So far so good.")
    assert state(second) == "Serving"
    row = Challenger.objects.get()
    run("chest-net:2", "--canary", "25")
    assert challenger_for(north.tenant.pk) == row, "a larger share is the same canary, so that no study changes sides"
    activate(version=second, by=Actor(name="test"))
    assert challenger_for(north.tenant.pk) is None
    assert acts() == [
        ("activated", None), ("shadow", None), ("canary", 10), ("canary", 25), ("activated", None),
        ("challenge-ended", None),
    ]  # fmt: skip
    roll_back(by=Actor(name="test"))
    assert version_for(north.tenant.pk) == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chest-net:1", "--shadow"], "cannot challenge itself"),
        (["chest-net:2", "--canary", "0"], "1 to 99"),
        (["chest-net:2", "--canary", "100"], "1 to 99"),
        (["chest-net:2"], "--shadow or --canary"),
        (["chest-net:2", "--shadow", "--canary", "5"], "--shadow or --canary"),
        (["--shadow"], "name:number or --end"),
        (["chest-net:2", "--end"], "name:number or --end"),
        (["--end"], "no challenger to end"),
        (["chest-net:3", "--shadow"], "is retired"),
        (["chest-net:9", "--shadow"], "no version chest-net:9"),
        (["chest-net:2", "--shadow", "--tenant", "nowhere"], "no tenant 'nowhere'"),
    ],
)
def test_impossible_challenges_are_refused(
    first: ModelVersion, second: ModelVersion, north: Any, arguments: list[str], message: str
) -> None:
    retire(version=registered(3), by=Actor(name="test"))
    entries = Activation.objects.count()
    with pytest.raises(CommandError, match=message):
        run(*arguments)
    assert not Challenger.objects.exists()
    assert Activation.objects.count() == entries


def test_one_challenger_for_each_scope_and_it_cannot_be_retired(
    first: ModelVersion, second: ModelVersion, north: Any, south: Any
) -> None:
    third = registered(3, scale=0.7)
    challenge(version=second, by=Actor(name="test"))
    with pytest.raises(ConflictError, match="under way: end it first"):
        challenge(version=third, by=Actor(name="test"))
    with pytest.raises(ConflictError, match="under way already"):
        challenge(version=second, by=Actor(name="test"))
    with pytest.raises(ConflictError, match="is a challenger"):
        retire(version=second, by=Actor(name="test"))
    with pytest.raises(IntegrityError):
        Challenger.objects.create(model_version=third, against=first, mode="shadow", keeps_points=True, actor="test")
    challenge(version=third, by=Actor(name="test"), tenant=north.tenant)
    activate(version=first, by=Actor(name="test"), tenant=south.tenant)
    assert challenger_for(north.tenant.pk).model_version == third
    assert challenger_for(south.tenant.pk) is None, "the platform's trial leaves a pinned hospital alone"
    end_challenge(by=Actor(name="test"), tenant=north.tenant)
    assert challenger_for(north.tenant.pk).model_version == second
    end_challenge(by=Actor(name="test"))
    retire(version=second, by=Actor(name="test"))
    assert state(second) == "Retired"


def test_a_challenger_needs_a_version_in_service(db: None) -> None:
    with pytest.raises(ConflictError, match="activate one first"):
        challenge(version=registered(1), by=Actor(name="test"))
    with pytest.raises(InvalidInputError):
        challenge(version=registered(2), by=Actor(name="test"), percent=100)


def test_a_canary_follows_the_hospitals_operating_points(first: ModelVersion, second: ModelVersion, north: Any) -> None:

    def choose(choice: PointChoice) -> None:
        set_points(tenant=north.tenant, version=first, choices={"Mass": choice}, recent={}, by=Actor(name="test"))

    choose(PointChoice("sensitivity", 0.8))
    challenge(version=second, by=Actor(name="test"), percent=20)
    assert thresholds_for(second, north.tenant.pk)["Mass"] == pytest.approx(0.2)
    choose(PointChoice("sensitivity", 0.95))
    assert thresholds_for(second, north.tenant.pk)["Mass"] == pytest.approx(0.1)
    entry = Activation.objects.first()
    assert (entry.act, entry.percent, entry.for_tenant) == ("canary", 20, north.tenant)
    with pytest.raises(ConflictError, match="on trial and cannot keep this choice"):
        choose(PointChoice("manual", value=0.3, reason="As before."))
    assert thresholds_for(first, north.tenant.pk)["Mass"] == pytest.approx(0.2)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(second, north.tenant.pk)["Mass"] == pytest.approx(0.2)
    end_challenge(by=Actor(name="test"))
    choose(PointChoice("manual", value=0.3, reason="As before."))
    with pytest.raises(ConflictError, match="threshold of its own"):
        challenge(version=second, by=Actor(name="test"), percent=20)
    challenge(version=second, by=Actor(name="test"), percent=20, keeps_points=False)
    assert thresholds_for(second, north.tenant.pk)["Mass"] == second.thresholds["Mass"]["value"]


def test_a_canary_never_prevents_a_rollback(first: ModelVersion, second: ModelVersion, north: Any) -> None:
    for choice in (PointChoice("manual", value=0.3, reason="As ever."), PointChoice("sensitivity", 0.8)):
        set_points(tenant=north.tenant, version=first, choices={"Mass": choice}, recent={}, by=Actor(name="test"))
    challenge(version=second, by=Actor(name="test"), percent=20)
    roll_back(by=Actor(name="test"), tenant=north.tenant)
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.3
    assert challenger_for(north.tenant.pk) is None
    assert Activation.objects.first().act == "challenge-ended"


def test_the_platforms_canary_takes_over_the_points_of_tenants_that_join_it(
    first: ModelVersion, second: ModelVersion, north: Any, south: Any
) -> None:
    third = registered(3)
    for hospital in (north, south):
        set_points(
            tenant=hospital.tenant,
            version=first,
            choices={"Mass": PointChoice("sensitivity", 0.8)},
            recent={},
            by=Actor(name="test"),
        )
    activate(version=first, by=Actor(name="test"), tenant=north.tenant)
    challenge(version=third, by=Actor(name="test"), tenant=south.tenant)
    challenge(version=second, by=Actor(name="test"), percent=20)
    own = second.thresholds["Mass"]["value"]
    assert [thresholds_for(second, each.tenant.pk)["Mass"] for each in (north, south)] == [own, own]
    unpin(tenant=north.tenant, by=Actor(name="test"))
    end_challenge(by=Actor(name="test"), tenant=south.tenant)
    for hospital in (north, south):
        assert challenger_for(hospital.tenant.pk).model_version == second
        assert thresholds_for(second, hospital.tenant.pk)["Mass"] == pytest.approx(0.2)
    set_points(tenant=north.tenant, version=first, choices={"Mass": None}, recent={}, by=Actor(name="test"))
    assert thresholds_for(second, north.tenant.pk)["Mass"] == own


def test_a_shadow_never_prevents_a_choice(first: ModelVersion, second: ModelVersion, north: Any) -> None:
    challenge(version=second, by=Actor(name="test"))
    by_hand = PointChoice("manual", value=0.3, reason="As before.")
    set_points(tenant=north.tenant, version=first, choices={"Mass": by_hand}, recent={}, by=Actor(name="test"))
    assert thresholds_for(first, north.tenant.pk)["Mass"] == 0.3
    assert challenger_for(north.tenant.pk) is not None


def test_another_version_in_service_ends_trials_against_the_former_one(
    first: ModelVersion, second: ModelVersion, north: Any, south: Any
) -> None:
    third = registered(3)
    activate(version=first, by=Actor(name="test"), tenant=south.tenant)
    for tenant in (None, north.tenant, south.tenant):
        challenge(version=second, by=Actor(name="test"), tenant=tenant)
    activate(version=third, by=Actor(name="test"))
    assert challenger_for(north.tenant.pk) is None
    assert challenger_for(south.tenant.pk) is not None
    ended = Activation.objects.filter(act="challenge-ended")
    assert {entry.scope for entry in ended} == {"whole platform", north.tenant}
    assert {entry.reason for entry in ended} == {"chest-net:3 serves there now."}


def test_a_second_operator_confirms_a_canary_but_no_shadow(
    first: ModelVersion, second: ModelVersion, north: Any, settings: Any
) -> None:
    settings.ACTIVATION_NEEDS_SECOND_APPROVER = True
    assert isinstance(challenge_or_request(version=second, by=Actor(name="test")), Activation)
    with pytest.raises(NotPermittedError):
        challenge(version=second, by=Actor(name="test"), percent=20)
    one, two = (User.objects.create_user(f"{name}@platform.example", PASSWORD) for name in ("one", "two"))
    request = challenge_or_request(version=second, by=Actor(name="test", user_id=one.pk), percent=20)
    assert isinstance(request, ActivationRequest)
    assert str(request) == "chest-net:2 as canary, 20 %, for whole platform"
    with pytest.raises(NotPermittedError, match="second operator"):
        approve(request=request, by=Actor(name="test", user_id=one.pk))
    entry = approve(request=request, by=Actor(name="test", user_id=two.pk))
    assert (entry.act, entry.percent, entry.second_id) == ("canary", 20, two.pk)
    assert isinstance(challenge_or_request(version=second, by=Actor(name="test"), percent=5), Activation), (
        "fewer patients"
    )
    assert isinstance(
        challenge_or_request(version=second, by=Actor(name="test", user_id=one.pk), percent=50), ActivationRequest
    )
