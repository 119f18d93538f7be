"""The table of report states: each action in each state does what the table says, and the documentation shows it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from apps.audit.services import user_actor
from apps.core.errors import ConflictError, NotPermittedError
from apps.inference.models import Finding, InferenceJob
from apps.inference.requests import request_inference
from apps.reading.services import change_reading_policy
from apps.reports import services
from apps.reports.models import Report
from apps.reports.selectors import stored_draft
from apps.reports.states import MAY, TABLE, WORKER, Action, State, state_of
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import PROJECT_ROOT, Hospital

TEXT = "Effusion on the right."


def test_the_documentation_shows_the_table() -> None:
    section = (PROJECT_ROOT / "docs" / "reports.md").read_text().split("## States")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", section, re.MULTILINE)
    assert rows[1:] == [
        (state, action, MAY[action], then) for state, actions in TABLE.items() for action, then in actions.items()
    ]


def acts(study: Study, hospital: Hospital, user: Any) -> dict[Action, Callable[[], Any]]:
    """The service of each action, as this user calls it."""
    who: dict[str, Any] = {"user": user, "membership": Membership.objects.get(user=user)}
    current = Report.objects.filter(study=study).order_by("-number").first()
    job = InferenceJob.objects.filter(study=study).order_by("-id").get()
    number = current.number if current else 1
    more = {
        **who,
        "study": study,
        "impression": f"{TEXT} {state_of(study)}",
        "agree_rest": True,
        "reason": "Typing error.",
    }
    finding = Finding.objects.filter(job=job, label="Effusion").first()

    def save() -> None:
        revision = stored_draft(study, current).revision
        services.save_draft(study=study, impression="So far.", revision=revision, **who)

    def review() -> None:
        services.review_finding(finding=finding or Finding(job=job), verdict="agree", **who)

    return {
        Action.SAVE: save,
        Action.REVIEW: review,
        Action.FINDING: lambda: services.add_reader_finding(study=study, name="Nodule", **who),
        Action.COMMIT: lambda: services.commit_impression(study=study, impression=TEXT, **who),
        Action.SIGN: lambda: services.sign_report(**more, without_ai=job.state != "complete"),
        Action.AMEND: lambda: services.sign_report(**more, amends=number),
        Action.ADDEND: lambda: services.sign_report(**more, amends=number, is_addendum=True),
        Action.DISCARD: lambda: services.discard_draft(study=study, **who),
    }


@pytest.fixture
def in_state(
    north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> Callable[[State], Study]:
    """A study whose report is in a state."""

    def made(state: State) -> Study:
        study: Study = store_film(north, size=256).study
        if state == State.ABSENT:
            return study
        finish(north, Effusion=0.7)
        with tenant_tx(north.tenant.id):
            actions = acts(study, north, north.radiologist)
            if state != State.PRELIMINARY:
                actions[Action.SIGN]()
            if state == State.REOPENED:
                acts(study, north, north.radiologist)[Action.SAVE]()
        return study

    return made


@pytest.mark.parametrize("state", State)
def test_each_action_in_each_state(north: Hospital, in_state: Callable[[State], Study], state: State) -> None:
    study = in_state(state)
    with tenant_tx(north.tenant.id):
        assert state_of(study) == state
        for action in Action:
            if MAY[action] == WORKER:
                continue
            with transaction.atomic():
                if action == Action.COMMIT:
                    blind(north)
                act = acts(study, north, north.radiologist)[action]
                if action in TABLE[state]:
                    act()
                    assert state_of(study) == TABLE[state][action], action
                else:
                    with pytest.raises(ConflictError):
                        act()
                transaction.set_rollback(True)
        for user in (north.technologist, north.admin):
            for action, act in acts(study, north, user).items():
                with pytest.raises(NotPermittedError):
                    act()
                assert state_of(study) == state, action


@pytest.mark.parametrize("state", State)
def test_a_result_in_each_state(
    north: Hospital, in_state: Callable[[State], Study], finish: Callable[..., InferenceJob], state: State
) -> None:
    study = in_state(state)
    with tenant_tx(north.tenant.id):
        if state != State.ABSENT:
            request_inference(study_id=study.pk)
    finish(north, Mass=0.9)
    with tenant_tx(north.tenant.id):
        assert state_of(study) == TABLE[state][Action.RESULT]


def blind(hospital: Hospital) -> None:
    """Let the hospital read blind first."""
    admin = hospital.admin
    membership = Membership.objects.get(user=admin)
    change_reading_policy(membership=membership, by=user_actor(admin.pk), ai_display="blind-first")
