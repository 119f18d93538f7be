"""Services for the rules of critical findings, which a hospital's administrators set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.critical.models import CriticalRule, RulePerson
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

LONGEST_MINUTES = 1440


@dataclass(frozen=True)
class RuleValues:
    """What an administrator sets; people are memberships of the tenant in force."""

    margin: int = 0
    minutes: int = 15
    is_active: bool = True
    people: Sequence[UUID] = field(default_factory=tuple)
    escalate_to: Sequence[UUID] = field(default_factory=tuple)


def add_rule(*, label: str, values: RuleValues, membership: Membership | None, by: Actor) -> CriticalRule:
    """Make a finding critical. Readings from now on follow the rule; studies that were read before stay as they are.

    Raises:
        NotPermittedError: no administrator.
        InvalidInputError: a value cannot be used.
        ConflictError: the finding has a rule already.
    """
    require_role(membership, Role.ADMIN)
    with transaction.atomic():
        if CriticalRule.objects.filter(label=label).exists():
            raise ConflictError(_("There is a rule for this finding already: change that one."), "rule-exists")
        return _save(CriticalRule(label=label), values, by)


def change_rule(*, rule_id: UUID, values: RuleValues, membership: Membership | None, by: Actor) -> CriticalRule:
    """Change a rule; notices that are open keep the rule by which they were opened.

    Raises:
        NotPermittedError, NotFoundError, InvalidInputError
    """
    require_role(membership, Role.ADMIN)
    with transaction.atomic():
        return _save(_locked(rule_id), values, by)


def remove_rule(*, rule_id: UUID, membership: Membership | None, by: Actor) -> CriticalRule:
    """Remove a rule; notices that are open stay open.

    Raises:
        NotPermittedError, NotFoundError
    """
    require_role(membership, Role.ADMIN)
    with transaction.atomic():
        rule = _locked(rule_id)
        CriticalRule.objects.filter(pk=rule.pk).delete()
        record(action=AuditEvent.Action.CRITICAL_RULE_CHANGED, by=by, object_id=rule_id)
    return rule


def _locked(rule_id: UUID) -> CriticalRule:
    rule = CriticalRule.objects.select_for_update(no_key=True).filter(pk=rule_id).first()
    if rule is None:
        raise NotFoundError(_("This hospital has no such rule."), "rule-not-found")
    return rule


def _save(rule: CriticalRule, values: RuleValues, by: Actor) -> CriticalRule:
    if not (0 <= values.margin <= 99 and 1 <= values.minutes <= LONGEST_MINUTES):
        raise InvalidInputError(
            _("Choose 0 to 99 percentage points, and 1 to %(longest)d minutes.") % {"longest": LONGEST_MINUTES},
            "rule-out-of-range",
        )
    wanted = {*values.people, *values.escalate_to}
    if Membership.objects.filter(pk__in=wanted).count() != len(wanted):
        raise InvalidInputError(_("A person is no longer a member. Reload the page."), "member-not-found")
    rule.margin, rule.minutes, rule.is_active = values.margin, values.minutes, values.is_active
    rule.save()
    rule.people.all().delete()
    steps = ((RulePerson.Step.FIRST, values.people), (RulePerson.Step.ESCALATION, values.escalate_to))
    RulePerson.objects.bulk_create(
        RulePerson(rule=rule, member_id=member_id, step=step) for step, members in steps for member_id in members
    )
    record(action=AuditEvent.Action.CRITICAL_RULE_CHANGED, by=by, object_id=rule.pk)
    return rule
