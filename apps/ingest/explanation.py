"""What would happen to an object if it arrived now: each comparison of the tenant's rules, and the checks after."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from apps.core.errors import InvalidInputError
from apps.inference.fairness import priority_of
from apps.inference.models import Priority
from apps.inference.stored_texts import stored_text
from apps.ingest.decisions import decide
from apps.registry import engine
from apps.routing.rule_models import IntakePolicy
from apps.routing.rules import CONDITIONS, Action, Comparison, Rule, values_of

BUILT_IN_CHECKS = (
    "not-radiography", "not-chest", "not-frontal", "for-processing", "multi-frame", "derived-image", "own-object",
    "not-for-clinical-use", "too-small", "aspect-ratio", "codestream-mismatch",
)  # fmt: skip
"""The codes of ``engine.check_attributes``: images that are stored and not read, whatever a rule says."""


@dataclass(frozen=True)
class RuleLine:
    """One rule, its comparisons with the object, and whether it decides."""

    number: int
    rule: Rule
    comparisons: list[Comparison]
    matches: bool
    decides: bool


@dataclass(frozen=True)
class Explanation:
    """What would happen to an object.

    Attributes:
        values: of each condition its keyword, its name, and the object's value.
        action: of ``Action``.
        reason: why, in the language in force.
        priority: of the reading; None where nothing is read.
    """

    lines: list[RuleLine]
    values: list[tuple[str, Promise, str]]
    action: str
    reason: str
    priority: int | None = None

    @property
    def action_text(self) -> str:
        return str(Action(self.action).label)

    @property
    def priority_text(self) -> str:
        return "" if self.priority is None else _(Priority(self.priority).label)


def explain(policy: IntakePolicy, found: engine.Preflight, calling_ae_title: str) -> Explanation:
    """What the rules and the checks after them would do with an object that passed the preflight."""
    values = values_of(found, calling_ae_title)
    decided = decide(policy, found, calling_ae_title).rule
    lines = [
        RuleLine(number, rule, rule.compare(values), rule.matches(values), rule is decided)
        for number, rule in enumerate(policy.own_rules, start=1)
    ]
    action, reason = _outcome(decided, found)
    priority = None
    if action == Action.READ:
        of_rule = decided.priority if decided is not None else None
        priority = priority_of(found.attributes) if of_rule is None else of_rule
    return Explanation(lines, _shown(values), action, reason, priority)


def explain_refusal(error: InvalidInputError) -> Explanation:
    """Of an object that the checks before all rules refuse."""
    return Explanation([], [], Action.REFUSE, stored_text(error.code, error.detail))


def _shown(values: Mapping[str, str]) -> list[tuple[str, Promise, str]]:
    return [(keyword, CONDITIONS[keyword], value) for keyword, value in values.items()]


def _outcome(rule: Rule | None, found: engine.Preflight) -> tuple[str, str]:
    if rule is not None and rule.action != Action.READ:
        return rule.action, _("The rule “%(rule)s” says so.") % {"rule": rule.name}
    if not found.is_image:
        return Action.STORE, _("It is a document and no image.")
    checked = engine.check_attributes(
        found.attributes, found.sop_class_uid, found.rows, found.columns, found.unreadable
    )
    if not checked.accepted:
        return Action.STORE, stored_text(checked.reason or "", checked.detail)
    if rule is not None:
        return Action.READ, _("The rule “%(rule)s” says so, and no check is against it.") % {"rule": rule.name}
    return Action.READ, _("No rule of yours matches, and no check is against it.")
