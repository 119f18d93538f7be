"""Selectors for the rules of the tenant in force, and for what followed from them."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Count, Max, QuerySet

from apps.routing.rule_models import IntakePolicy, RuleMatch, RuleRefusals
from apps.routing.rules import Action

# By hand: with every request that stores, the ORM needs longer to build this than PostgreSQL to execute it.
_IN_FORCE: Final = "select * from routing_intakepolicy order by number desc limit 1"


def intake_policy() -> IntakePolicy:
    """The policy in force; an unsaved one without rules, number 0, where the tenant set none."""
    return next(iter(IntakePolicy.objects.raw(_IN_FORCE)), None) or IntakePolicy(number=0)


def kept_back(rule_id: UUID | None = None) -> "QuerySet[RuleMatch]":
    """The images that a rule stored only, and that were not released for reading since."""
    found = RuleMatch.objects.filter(action=Action.STORE, released=None, instance__rows__isnull=False)
    return found if rule_id is None else found.filter(rule_id=rule_id)


@dataclass(frozen=True)
class RuleCounts:
    """What one rule did so far: objects refused, and images that are stored and not read because of it."""

    name: str
    refusals: RuleRefusals | None = None
    kept_back: int = 0


def rule_counts() -> dict[UUID, RuleCounts]:
    """The counts of each rule that did anything, also of rules that were removed."""
    refusals = {row.rule_id: row for row in RuleRefusals.objects.all()}
    stored = kept_back().order_by().values_list("rule_id").annotate(count=Count("pk"), name=Max("rule_name"))
    counts = {rule_id: RuleCounts(name, refusals.get(rule_id), count) for rule_id, count, name in stored}
    return {rule_id: RuleCounts(row.rule_name, row) for rule_id, row in refusals.items()} | counts


def refused_in_all() -> int:
    """How many objects the rules have refused, with those of rules that were removed."""
    return sum(RuleRefusals.objects.values_list("amount", flat=True))
