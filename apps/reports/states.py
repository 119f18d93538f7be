"""The states of a study's report, what may be done in each, and who may do it.

``docs/reports.md`` shows this table, and a test compares both.
"""

from collections.abc import Mapping
from typing import Final

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.core.errors import ChecxrayError, ConflictError
from apps.reports.models import Report, ReportDraft
from apps.studies.models import Study
from apps.tenants.models import Role


class State(models.TextChoices):
    """``absent`` and ``preliminary`` have no signed version; the two others have one."""

    ABSENT = "absent", gettext_lazy("No report")
    PRELIMINARY = "preliminary", gettext_lazy("Drafted")
    SIGNED = "signed", gettext_lazy("Signed")
    REOPENED = "reopened", gettext_lazy("Signed, and the next version drafted")


class Action(models.TextChoices):
    RESULT = "result", gettext_lazy("The AI's result arrives")
    SAVE = "save", gettext_lazy("Save the draft")
    REVIEW = "review", gettext_lazy("Give or withdraw a verdict")
    FINDING = "finding", gettext_lazy("Add or remove a reader's finding")
    COMMIT = "commit", gettext_lazy("Commit the impression before the AI is shown")
    SIGN = "sign", gettext_lazy("Sign")
    AMEND = "amend", gettext_lazy("Sign an amendment")
    ADDEND = "addend", gettext_lazy("Sign an addendum")
    DISCARD = "discard", gettext_lazy("Withdraw the draft of the next version")


WORKER: Final = "worker"
MAY: Final[Mapping[Action, str]] = {each: WORKER if each == Action.RESULT else Role.RADIOLOGIST for each in Action}
"""Who may do it: a role, or the worker that stores the AI's result."""

TABLE: Final[Mapping[State, Mapping[Action, State]]] = {
    State.ABSENT: {
        Action.RESULT: State.PRELIMINARY,
        Action.SAVE: State.PRELIMINARY,
        Action.FINDING: State.ABSENT,
        Action.COMMIT: State.PRELIMINARY,
        Action.SIGN: State.SIGNED,
    },
    State.PRELIMINARY: {
        Action.RESULT: State.PRELIMINARY,
        Action.SAVE: State.PRELIMINARY,
        Action.REVIEW: State.PRELIMINARY,
        Action.FINDING: State.PRELIMINARY,
        Action.COMMIT: State.PRELIMINARY,
        Action.SIGN: State.SIGNED,
    },
    State.SIGNED: {
        Action.RESULT: State.REOPENED,
        Action.SAVE: State.REOPENED,
        Action.AMEND: State.SIGNED,
        Action.ADDEND: State.SIGNED,
    },
    State.REOPENED: {
        Action.RESULT: State.REOPENED,
        Action.SAVE: State.REOPENED,
        Action.REVIEW: State.REOPENED,
        Action.FINDING: State.REOPENED,
        Action.AMEND: State.SIGNED,
        Action.ADDEND: State.SIGNED,
        Action.DISCARD: State.SIGNED,
    },
}
"""The state that each action leads to; an action that is missing is refused.

An addendum and a withdrawn draft leave ``reopened`` as it is where a newer result of the AI waits for its report.
"""


def state_of(study: Study) -> State:
    """The state of the report of a study."""
    drafted = ReportDraft.objects.filter(study=study).exists()
    if Report.objects.filter(study=study).exists():
        return State.REOPENED if drafted else State.SIGNED
    return State.PRELIMINARY if drafted else State.ABSENT


def require_action(state: State, action: Action) -> None:
    """Raises ConflictError where the table does not allow the action."""
    if action not in TABLE[state]:
        raise _refusal(state, action)


def _refusal(state: State, action: Action) -> ChecxrayError:
    if action in (Action.AMEND, Action.ADDEND):
        return ConflictError(_("This report is not signed yet: sign it."), "report-not-signed")
    if action == Action.DISCARD:
        return ConflictError(_("There is no draft of a next version."), "draft-not-found")
    if action == Action.REVIEW and state == State.ABSENT:
        return ConflictError(_("There is no result of the AI to give a verdict on."), "reading-not-complete")
    return ConflictError(_("This report is signed already and no longer changes; it can be amended."), "report-signed")
