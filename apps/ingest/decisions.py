"""Decides by the tenant's rules what happens to arriving objects, before anything of them is stored."""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import RefusedByRuleError
from apps.inference.fairness import priority_of
from apps.registry import engine
from apps.routing.rule_models import IntakePolicy
from apps.routing.rule_selectors import intake_policy
from apps.routing.rule_services import note_refused
from apps.routing.rules import Decision, Rule, first_match, values_of
from apps.tenants.scope import tenant_tx


def policy_of(tenant_id: UUID) -> IntakePolicy:
    """The tenant's policy: one query for all objects of a request."""
    with tenant_tx(tenant_id):
        return intake_policy()


def decide(policy: IntakePolicy, found: engine.Preflight, calling_ae_title: str) -> Decision:
    """The first rule that matches the object."""
    if not policy.own_rules:
        return Decision()
    return Decision(first_match(policy.own_rules, values_of(found, calling_ae_title)), policy.number)


def refusal_of(rule: Rule) -> RefusedByRuleError:
    detail = _("The hospital's rule “%(rule)s” refuses this object, so nothing of it is stored.")
    return RefusedByRuleError(detail % {"rule": rule.name})


def count_refused(decisions: Iterable[Decision], *, tenant_id: UUID, by: Actor) -> None:
    """Count the objects that were refused, by rule."""
    refused = [decision.rule for decision in decisions if decision.is_refused and decision.rule is not None]
    if not refused:
        return
    amounts = Counter(rule.id for rule in refused)
    with tenant_tx(tenant_id):
        # In a fixed order, so that concurrent requests lock rows in the same order.
        for rule in sorted({rule.id: rule for rule in refused}.values(), key=lambda rule: rule.id):
            note_refused(rule=rule, amount=amounts[rule.id], by=by)


def priority_by(decision: Decision, found: engine.Preflight) -> int:
    """The priority of a reading: the rule's, or what the sender asks for."""
    if decision.rule is not None and decision.rule.priority is not None:
        return decision.rule.priority
    return priority_of(found.attributes)
