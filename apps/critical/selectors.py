"""Selectors of rules and notices of the tenant in force, and the figures of the whole platform."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Count, Exists, Min, OuterRef, QuerySet

from apps.critical.models import NOTIFYING, WAITING, CriticalNotice, CriticalRule, NoticeEvent, RulePerson
from apps.studies.models import Study
from apps.tenants.models import Membership, Role
from apps.tenants.services import sees_findings


def named_notices(membership: Membership) -> "QuerySet[CriticalNotice]":
    """The notices of which a member was notified."""
    mine = NoticeEvent.objects.filter(notice=OuterRef("pk"), user=membership.user_id, kind__in=NOTIFYING)
    return CriticalNotice.objects.filter(Exists(mine))


def visible_notices(membership: Membership | None) -> "QuerySet[CriticalNotice]":
    """The notices that a member may see: radiologists and administrators all, others those that name them."""
    if membership is None:
        return CriticalNotice.objects.none()
    if sees_findings(membership) or membership.role == Role.ADMIN:
        return CriticalNotice.objects.all()
    return named_notices(membership)


def may_acknowledge(membership: Membership, notice: CriticalNotice) -> bool:
    """Whether a member may acknowledge: a radiologist, or somebody who was notified."""
    return sees_findings(membership) or named_notices(membership).filter(pk=notice.pk).exists()


def notices_to_acknowledge(study: Study, membership: Membership) -> list[CriticalNotice]:
    """The notices of a study that wait, and that a member may acknowledge."""
    mine = CriticalNotice.objects.all() if sees_findings(membership) else named_notices(membership)
    return list(mine.filter(study=study, state__in=WAITING).order_by("created"))


@dataclass(frozen=True)
class Waiting:
    """How many notices wait for somebody, and since when the oldest does."""

    count: int
    oldest: datetime | None


def waiting_for(membership: Membership) -> Waiting:
    """The notices that name a member and that nobody has acknowledged yet."""
    found = named_notices(membership).filter(state__in=WAITING).aggregate(count=Count("pk"), oldest=Min("created"))
    return Waiting(found["count"], found["oldest"])


def waiting_on_platform() -> Waiting:
    """As above, for everybody in all hospitals."""
    rows = CriticalNotice.objects.using("dispatch").filter(state__in=WAITING)
    found = rows.aggregate(count=Count("pk"), oldest=Min("created"))
    return Waiting(found["count"], found["oldest"])


@dataclass(frozen=True)
class RuleLine:
    """A rule with the people whom it names, as the settings page shows it."""

    rule: CriticalRule
    people: list[RulePerson]

    def _step(self, step: str) -> list[RulePerson]:
        return [each for each in self.people if each.step == step]

    @property
    def first(self) -> list[RulePerson]:
        return self._step(RulePerson.Step.FIRST)

    @property
    def escalation(self) -> list[RulePerson]:
        return self._step(RulePerson.Step.ESCALATION)

    @property
    def reaches_nobody_first(self) -> bool:
        return not any(each.member.user.is_active for each in self.first)

    @property
    def reaches_nobody_at_escalation(self) -> bool:
        return not any(each.member.user.is_active for each in self.escalation)

    @property
    def disabled(self) -> list[str]:
        """Named people whose accounts are disabled."""
        return sorted({str(each.member.user) for each in self.people if not each.member.user.is_active})

    @property
    def without_findings(self) -> list[str]:
        """Named people who learn that a notice is open, and not what was found."""
        return sorted({str(each.member.user) for each in self.people if not sees_findings(each.member)})


def rule_lines() -> list[RuleLine]:
    """All rules of the tenant in force, by label."""
    rules = CriticalRule.objects.prefetch_related("people__member__user").order_by("label")
    return [RuleLine(rule, list(rule.people.all())) for rule in rules]


def can_mail() -> bool:
    """Whether this platform has a mail server."""
    return bool(settings.EMAIL_HOST)
