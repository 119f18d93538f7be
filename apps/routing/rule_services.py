"""Services for the rules of the tenant in force. Each change writes a new version of them all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.core.identifiers import uuid7
from apps.core.text import clean_text
from apps.routing.rule_models import IntakePolicy, RuleMatch, RuleRefusals
from apps.routing.rule_selectors import intake_policy
from apps.routing.rules import CONDITIONS, LONGEST_CONDITION, LONGEST_NAME, Action, Decision, Rule, moved, patterns
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

MOST_RULES: Final = 100
LONGEST_QUIET_SECONDS: Final = 3600
LONGEST_WAIT_MINUTES: Final = 240
_PRIORITIES: Final = (None, -1, 0, 1, 2)


@dataclass(frozen=True)
class RuleValues:
    """What an administrator sets of a rule; see ``apps.routing.rules.Rule``."""

    name: str
    conditions: Mapping[str, str]
    action: str
    priority: int | None = None
    destinations: Sequence[UUID] = ()


@dataclass(frozen=True)
class Editor:
    """Who changes the rules, and the number of the version that they saw.

    A change that was made meanwhile is not overwritten: the person looks at the new rules first.
    """

    membership: Membership | None
    by: Actor
    number: int


def add_rule(values: RuleValues, *, editor: Editor) -> Rule:
    """Add a rule after the others.

    Raises:
        NotPermittedError: no administrator.
        InvalidInputError: a value cannot be used, or there are too many rules.
        ConflictError: the rules were changed meanwhile.
    """
    rule = _rule(uuid7(), values)

    def added(rules: list[Rule]) -> list[Rule]:
        if len(rules) >= MOST_RULES:
            raise InvalidInputError(_("There are %(most)d rules, the most there can be.") % {"most": MOST_RULES})
        return [*rules, rule]

    _change_rules(editor, added)
    return rule


def change_rule(rule_id: UUID, values: RuleValues, *, editor: Editor) -> None:
    """Change a rule; it keeps its place. Raises as `add_rule`, and NotFoundError."""
    rule = _rule(rule_id, values)
    _change_rules(
        editor,
        lambda rules: [replace(rule, is_enabled=each.is_enabled) if each.id == rule_id else each for each in rules],
        rule_id,
    )


def move_rule(rule_id: UUID, places: int, *, editor: Editor) -> None:
    """Move a rule up (a negative number) or down. Raises as `change_rule`."""
    _change_rules(editor, lambda rules: moved(rules, rule_id, places), rule_id)


def switch_rule(rule_id: UUID, *, is_enabled: bool, editor: Editor) -> None:
    """Switch a rule on or off. Raises as `change_rule`."""
    _change_rules(
        editor,
        lambda rules: [replace(each, is_enabled=is_enabled) if each.id == rule_id else each for each in rules],
        rule_id,
    )


def remove_rule(rule_id: UUID, *, editor: Editor) -> None:
    """Remove a rule; a former version of the rules can be restored. Raises as `change_rule`."""
    _change_rules(editor, lambda rules: [each for each in rules if each.id != rule_id], rule_id)


def set_quiet_time(*, seconds: int, longest_wait_minutes: int, editor: Editor) -> None:
    """Set how long a study waits for more images; it holds from the next image on. Raises as `add_rule`."""
    if not (0 <= seconds <= LONGEST_QUIET_SECONDS and 1 <= longest_wait_minutes <= LONGEST_WAIT_MINUTES):
        raise InvalidInputError(
            _("Choose 0 to %(seconds)d seconds, and 1 to %(minutes)d minutes.")
            % {"seconds": LONGEST_QUIET_SECONDS, "minutes": LONGEST_WAIT_MINUTES},
            "quiet-time-out-of-range",
        )
    _write(editor, quiet_seconds=seconds, longest_wait_minutes=longest_wait_minutes)


def restore_policy(number: int, *, editor: Editor) -> None:
    """Put a former version in force again, as a new version. Version 0 is: no rules, and no quiet time.

    Raises:
        NotPermittedError, NotFoundError, ConflictError
    """
    require_role(editor.membership, Role.ADMIN)
    former = IntakePolicy(number=0) if number == 0 else IntakePolicy.objects.filter(number=number).first()
    if former is None:
        raise NotFoundError(_("There is no such version of the rules."), "rules-version-not-found")
    _write(
        editor,
        rules=former.rules,
        quiet_seconds=former.quiet_seconds,
        longest_wait_minutes=former.longest_wait_minutes,
        restored_from=number,
    )


def note_match(*, instance_id: UUID, decision: Decision) -> None:
    """Record the rule that decided about an instance that was just stored."""
    rule = decision.rule
    assert rule is not None
    RuleMatch.objects.create(
        instance_id=instance_id,
        rule_id=rule.id,
        rule_name=rule.name,
        policy=decision.policy,
        action=rule.action,
        destinations=list(rule.destinations),
    )


def note_refused(*, rule: Rule, amount: int, by: Actor) -> None:
    """Count objects that a rule refused, and write one line of audit for all of them."""
    now = timezone.now()
    counted, is_new = RuleRefusals.objects.get_or_create(
        rule_id=rule.id, defaults={"rule_name": rule.name, "amount": amount, "first": now, "last": now}
    )
    if not is_new:
        RuleRefusals.objects.filter(pk=counted.pk).update(amount=F("amount") + amount, last=now, rule_name=rule.name)
    record(
        action=AuditEvent.Action.OBJECT_REFUSED,
        by=by,
        object_id=rule.id,
        amount=amount,
        outcome=AuditEvent.Outcome.MINOR_FAILURE,
    )


def _change_rules(editor: Editor, change: Callable[[list[Rule]], list[Rule]], rule_id: UUID | None = None) -> None:
    """Write a version with changed rules; the rule with this id must be among them."""
    require_role(editor.membership, Role.ADMIN)
    rules = list(intake_policy().own_rules)
    if rule_id is not None and rule_id not in {rule.id for rule in rules}:
        raise NotFoundError(_("There is no such rule. It may have been removed meanwhile."), "rule-not-found")
    _write(editor, rules=[rule.to_dict() for rule in change(rules)])


def _write(editor: Editor, **changes: Any) -> None:
    require_role(editor.membership, Role.ADMIN)
    current = intake_policy()
    kept = {name: getattr(current, name) for name in ("rules", "quiet_seconds", "longest_wait_minutes")}
    if changes.get("restored_from") is None and {**kept, **changes} == kept:
        return
    try:
        if current.number != editor.number:
            raise IntegrityError
        with transaction.atomic():
            version = IntakePolicy.objects.create(
                number=current.number + 1, user_id=editor.by.user_id, **{**kept, **changes}
            )
    except IntegrityError as error:
        raise ConflictError(
            _("Somebody has changed the rules meanwhile. Look at them, and then make your change again."),
            "rules-changed-meanwhile",
        ) from error
    record(action=AuditEvent.Action.RULES_CHANGED, by=editor.by, object_id=version.pk)


def _rule(rule_id: UUID, values: RuleValues) -> Rule:
    """A rule of checked values.

    Raises:
        InvalidInputError
    """
    name = clean_text(values.name, name="name", longest=LONGEST_NAME)
    if not name:
        raise InvalidInputError(_("Give the rule a name."), "rule-name-missing")
    conditions = {}
    for keyword in CONDITIONS:
        wanted = clean_text(values.conditions.get(keyword, ""), name=keyword, longest=LONGEST_CONDITION)
        if wanted and not patterns(wanted):
            raise InvalidInputError(
                _("%(condition)s: enter a value, or leave it empty.") % {"condition": CONDITIONS[keyword]},
                "rule-condition-empty",
            )
        if wanted:
            conditions[keyword] = wanted
    if values.action not in Action.values or values.priority not in _PRIORITIES:
        raise InvalidInputError(_("Choose what the rule does."), "rule-action-unknown")
    is_read = values.action == Action.READ
    return Rule(
        id=rule_id,
        name=name,
        conditions=conditions,
        action=values.action,
        priority=values.priority if is_read else None,
        destinations=tuple(values.destinations) if values.action != Action.REFUSE else (),
    )
