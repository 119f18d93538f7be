"""The versions of the rules of the tenant in force: who changed what, and when."""

from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from apps.routing.rule_models import IntakePolicy
from apps.routing.rules import CONDITIONS, Rule

VERSIONS_SHOWN: Final = 100


@dataclass(frozen=True)
class VersionLine:
    """One version, and how it differs from the one before it."""

    version: IntakePolicy
    changes: list[str]


def history() -> list[VersionLine]:
    """The latest versions, newest first."""
    versions = list(IntakePolicy.objects.select_related("user").order_by("-number")[: VERSIONS_SHOWN + 1])
    former = [*versions[1:], IntakePolicy(number=0)]
    lines = [VersionLine(each, changes_of(before, each)) for each, before in zip(versions, former, strict=False)]
    return lines[:VERSIONS_SHOWN]


def changes_of(before: IntakePolicy, after: IntakePolicy) -> list[str]:
    """What was changed, in the language in force; one sentence each."""
    old = {rule.id: rule for rule in before.own_rules}
    new = {rule.id: rule for rule in after.own_rules}
    changes = [_("Removed: %(rule)s") % {"rule": rule.name} for rule in old.values() if rule.id not in new]
    for rule in new.values():
        if rule.id not in old:
            changes.append(_("Added: %(rule)s") % {"rule": rule.name})
        else:
            changes += _changes_of_rule(old[rule.id], rule)
    stayed_before = [rule_id for rule_id in old if rule_id in new]
    if stayed_before != [rule_id for rule_id in new if rule_id in old]:
        changes.append(_("Order: %(rules)s") % {"rules": ", ".join(rule.name for rule in new.values())})
    if (before.quiet_seconds, before.longest_wait_minutes) != (after.quiet_seconds, after.longest_wait_minutes):
        changes.append(
            _("Quiet time: %(seconds)d seconds, longest wait %(minutes)d minutes")
            % {"seconds": after.quiet_seconds, "minutes": after.longest_wait_minutes}
        )
    return changes


def _changes_of_rule(old: Rule, new: Rule) -> list[str]:
    changes = []
    if old.is_enabled != new.is_enabled:
        text = _("Switched on: %(rule)s") if new.is_enabled else _("Switched off: %(rule)s")
        changes.append(text % {"rule": new.name})
    differing = [
        str(CONDITIONS[keyword]) for keyword in CONDITIONS if old.conditions.get(keyword) != new.conditions.get(keyword)
    ]
    named = {
        _("name"): old.name != new.name,
        _("action"): old.action != new.action,
        _("priority"): old.priority != new.priority,
        _("destinations"): old.destinations != new.destinations,
    }
    differing += [name for name, differs in named.items() if differs]
    if differing:
        changes.append(_("Changed: %(rule)s (%(what)s)") % {"rule": new.name, "what": ", ".join(differing)})
    return changes
