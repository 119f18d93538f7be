"""Services for notices of critical findings: open, acknowledge, close, open again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.core.text import clean_text
from apps.critical.events import publish_opened
from apps.critical.models import (
    Closing,
    CriticalNotice,
    CriticalRule,
    NoticeEvent,
    NoticeState,
    RulePerson,
)
from apps.critical.people import administrators, notify, reachable
from apps.critical.selectors import may_acknowledge, visible_notices
from apps.inference.models import Finding, InferenceJob
from apps.studies.models import ImageRejection
from apps.tenants.models import Membership

LONGEST_CONTACT = 200
LONGEST_NOTE = 1_000
Kind = NoticeEvent.Kind


def open_notices(*, jobs: Sequence[InferenceJob], at: datetime | None = None) -> list[CriticalNotice]:
    """Open the notices of complete readings, in the transaction that completed them, and notify people.

    A finding of a study is notified once, by whichever reading flags it first. An image that was rejected meanwhile
    opens none. Labels of a stopped AI have no findings, and shadow readings have no job here.
    """
    rules = {rule.label: rule for rule in CriticalRule.objects.filter(is_active=True)} if jobs else {}
    if not rules:
        return []
    at = at or timezone.now()
    findings = _critical(jobs, rules)
    if not findings:
        return []
    named: dict[UUID, dict[str, list[str]]] = {}
    for person in RulePerson.objects.filter(rule__in=rules.values()).select_related("member"):
        named.setdefault(person.rule_id, {}).setdefault(person.step, []).append(str(person.member.user_id))
    notices = [_notice(finding, rules[finding.label], named, at) for finding in findings]
    CriticalNotice.objects.bulk_create(notices, batch_size=500)
    notify_first(notices, at)
    publish_opened(notices)
    return notices


def notify_first(notices: Sequence[CriticalNotice], at: datetime) -> None:
    """Notify those whom the rule names first. Where none of them is left, the notice is escalated at once."""
    first: list[tuple[CriticalNotice, User]] = []
    people = _people_by_id(notices, RulePerson.Step.FIRST)
    alone = []
    for notice in notices:
        known = [people[each] for each in notice.rule[RulePerson.Step.FIRST] if each in people]
        first += [(notice, user) for user in known]
        if not known:
            alone.append(notice)
    escalated = escalate(alone, at)
    notify({Kind.NOTIFIED: first, Kind.ESCALATED: escalated}, at)


def escalate(notices: Sequence[CriticalNotice], at: datetime) -> list[tuple[CriticalNotice, User]]:
    """Escalate notices; return who is to be notified: those whom the rule names, or else the administrators."""
    people = _people_by_id(notices, RulePerson.Step.ESCALATION)
    in_need = administrators() if notices else []
    pairs = []
    for notice in notices:
        notice.state, notice.escalated_at, notice.due = NoticeState.ESCALATED, at, at + repeat_after(notice)
        known = [people[each] for each in notice.rule[RulePerson.Step.ESCALATION] if each in people]
        pairs += [(notice, user) for user in known or in_need]
    CriticalNotice.objects.bulk_update(notices, ["state", "escalated_at", "due"], batch_size=500)
    return pairs


def repeat_after(notice: CriticalNotice) -> timedelta:
    """After an escalation the administrators are reminded each half hour, or as rarely as the rule escalates."""
    return timedelta(minutes=max(notice.rule["minutes"], 30))


@dataclass(frozen=True)
class Communication:
    """Whom a reader informed of the result, when, and a note; all may be left out (ACR: who, whom, when)."""

    contact: str = ""
    at: datetime | None = None
    note: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.contact.strip() or self.note.strip() or self.at)


NO_COMMUNICATION = Communication()


def acknowledge(
    *,
    notice_id: UUID,
    user: User,
    membership: Membership | None,
    communication: Communication = NO_COMMUNICATION,
    at: datetime | None = None,
) -> CriticalNotice:
    """Acknowledge a notice in a person's name, or add to an acknowledged one whom the person informed.

    Raises:
        NotFoundError: there is no such notice for this person.
        NotPermittedError: the person is neither a radiologist nor was notified.
        ConflictError: it is closed, or acknowledged and there is nothing to add.
        InvalidInputError: a text is too long, or the time is not between the notice and now.
    """
    at = at or timezone.now()
    with transaction.atomic():
        notice = CriticalNotice.objects.select_for_update(no_key=True).filter(pk=notice_id).first()
        if notice is None or not visible_notices(membership).filter(pk=notice_id).exists():
            raise NotFoundError(_("There is no such notice here."), "notice-not-found")
        assert membership is not None
        if not may_acknowledge(membership, notice):
            raise NotPermittedError(_("Radiologists acknowledge it, and those who were notified."))
        if notice.state == NoticeState.CLOSED:
            raise ConflictError(_("This notice was closed meanwhile. Reload the page."), "notice-closed")
        fields = _checked(communication, notice, at)
        kind = Kind.COMMUNICATED if notice.state == NoticeState.ACKNOWLEDGED else Kind.ACKNOWLEDGED
        if kind == Kind.ACKNOWLEDGED:
            notice.state, notice.due = NoticeState.ACKNOWLEDGED, None
            notice.acknowledged_at, notice.acknowledged_by = at, user
            notice.save(update_fields=["state", "due", "acknowledged_at", "acknowledged_by"])
        elif communication.is_empty:
            if notice.acknowledged_by_id == user.pk:
                # A second click, or a reload of the form.
                return notice
            raise ConflictError(
                _("%(person)s acknowledged this notice already.") % {"person": notice.acknowledged_by},
                "notice-acknowledged",
            )
        NoticeEvent.objects.create(notice=notice, kind=kind, at=at, user=user, **fields)
        record(action=AuditEvent.Action.CRITICAL_ACKNOWLEDGED, by=user_actor(user.pk), object_id=notice.pk)
    return notice


def close_notices(
    *,
    study_id: UUID,
    closing: Closing,
    user_id: UUID | None = None,
    label: str | None = None,
    images: Sequence[str] | None = None,
    until_job: UUID | None = None,
    at: datetime | None = None,
) -> int:
    """Close the notices of a study, in the transaction of what closes them; return how many were closed.

    Args:
        user_id: of the person who did it, where it was a person.
        label: only the notice of this finding.
        images: only notices of readings of these images, by SOP Instance UID.
        until_job: only notices of this reading and of those before it.
    """
    notices = CriticalNotice.objects.filter(study=study_id).exclude(state=NoticeState.CLOSED)
    if label is not None:
        notices = notices.filter(label=label)
    if images is not None:
        notices = notices.filter(job__instance__sop_instance_uid__in=images)
    if until_job is not None:
        notices = notices.filter(job__lte=until_job)
    at = at or timezone.now()
    changes = {"state": NoticeState.CLOSED, "closed_at": at, "closing": closing, "due": None}
    return _change(notices, changes, Kind.CLOSED, user_id, at, closing)


def reopen_notices(
    *,
    study_id: UUID,
    closing: Closing,
    user_id: UUID | None = None,
    label: str | None = None,
    at: datetime | None = None,
) -> int:
    """Open notices again whose reason to be closed was taken back; those acknowledged before are so again."""
    notices = CriticalNotice.objects.filter(study=study_id, state=NoticeState.CLOSED, closing=closing)
    if label is not None:
        notices = notices.filter(label=label)
    at = at or timezone.now()
    back = {"closed_at": None, "closing": ""}
    known = {**back, "state": NoticeState.ACKNOWLEDGED}
    opened = _change(notices.filter(acknowledged_at__isnull=False), known, Kind.REOPENED, user_id, at)
    waiting = list(notices.filter(acknowledged_at__isnull=True))
    for notice in waiting:
        notice.due = at + timedelta(minutes=notice.rule["minutes"])
        again = {**back, "state": NoticeState.OPEN, "due": notice.due, "escalated_at": None}
        opened += _change(notices.filter(pk=notice.pk), again, Kind.REOPENED, user_id, at)
    if waiting:
        notify_first(waiting, at)
    return opened


def _change(
    notices: "QuerySet[CriticalNotice]",
    changes: Mapping[str, Any],
    kind: NoticeEvent.Kind,
    user_id: UUID | None,
    at: datetime,
    closing: str = "",
) -> int:
    ids = list(notices.select_for_update(no_key=True, of=("self",)).values_list("pk", flat=True))
    if ids:
        CriticalNotice.objects.filter(pk__in=ids).update(**changes)
        NoticeEvent.objects.bulk_create(
            NoticeEvent(notice_id=pk, kind=kind, at=at, user_id=user_id, closing=closing) for pk in ids
        )
    return len(ids)


def _critical(jobs: Sequence[InferenceJob], rules: Mapping[str, CriticalRule]) -> list[Finding]:
    """The findings that are critical and new for their study, of images that are not rejected."""
    flagged = Finding.objects.filter(job__in=[job.pk for job in jobs], label__in=rules, positive=True)
    found = [
        each
        for each in flagged.select_related("job__instance", "job__model_version")
        if each.threshold is not None
        and round(100 * (each.probability - each.threshold), 6) >= rules[each.label].margin
    ]
    studies = {each.job.study_id for each in found}
    known = set(
        CriticalNotice.objects.filter(study__in=studies)
        .exclude(closing=Closing.REJECTED)
        .values_list("study_id", "label")
    )
    rejections = ImageRejection.objects.filter(study__in=studies, withdrawn_at=None)
    rejected = set(rejections.values_list("study_id", "sop_instance_uid"))
    return [each for each in found if (each.job.study_id, each.label) not in known and _image(each) not in rejected]


def _image(finding: Finding) -> tuple[UUID, str]:
    instance = finding.job.instance
    return finding.job.study_id, instance.sop_instance_uid if instance is not None else ""


def _notice(
    finding: Finding, rule: CriticalRule, named: Mapping[UUID, Mapping[str, list[str]]], at: datetime
) -> CriticalNotice:
    people = {step: named.get(rule.pk, {}).get(step, []) for step in RulePerson.Step.values}
    return CriticalNotice(
        study_id=finding.job.study_id,
        job=finding.job,
        label=finding.label,
        rule={"margin": rule.margin, "minutes": rule.minutes, **people},
        created=at,
        due=at + timedelta(minutes=rule.minutes),
    )


def _people_by_id(notices: Sequence[CriticalNotice], step: str) -> dict[str, User]:
    ids = {each for notice in notices for each in notice.rule[step]}
    return {str(user.pk): user for user in reachable(ids)} if ids else {}


def _checked(communication: Communication, notice: CriticalNotice, at: datetime) -> dict[str, Any]:
    moment = communication.at
    # A form has whole minutes: the notice's own minute counts.
    if moment is not None and not notice.created - timedelta(minutes=1) <= moment <= at + timedelta(minutes=1):
        raise InvalidInputError(_("The time must lie between the notice and now."), "communication-time-out-of-range")
    return {
        "contact": clean_text(communication.contact, name="contact", longest=LONGEST_CONTACT).replace("\n", " "),
        "contact_at": moment,
        "note": clean_text(communication.note, name="note", longest=LONGEST_NOTE),
    }
