"""A tenant's rules about arriving objects: their conditions, and the first one that matches an object.

Nothing here reads the database: ``apps.routing.models.IntakePolicy`` stores rules as JSON, in the form of ``to_dict``.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self
from uuid import UUID

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

CALLING_AE_TITLE: Final = "CallingAETitle"
CONDITIONS: Final[Mapping[str, Promise]] = {
    "Modality": _("Modality"),
    "SOPClassUID": _("SOP class"),
    "BodyPartExamined": _("Body part"),
    "ViewPosition": _("View position"),
    "StationName": _("Station name"),
    CALLING_AE_TITLE: _("Calling AE title"),
    "StudyDescription": _("Study description"),
    "SeriesDescription": _("Series description"),
}
"""What a rule can compare, with its name for people: DICOM keywords, and the title that a C-STORE peer calls itself."""

LONGEST_NAME: Final = 60
LONGEST_CONDITION: Final = 300
_SPACES: Final = re.compile(r"\s+")


class Action(models.TextChoices):
    """What happens to an object that a rule matches."""

    READ = "read", _("Read")
    STORE = "store", _("Store only")
    REFUSE = "refuse", _("Refuse")


class ArrivingObject(Protocol):
    """What the preflight found in an object (``ml.dicom.preflight.Preflight``)."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Comparison:
    """One condition of a rule, the object's value, and whether they fit."""

    keyword: str
    wanted: str
    found: str
    fits: bool

    @property
    def label(self) -> Promise:
        return CONDITIONS[self.keyword]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        conditions: patterns by keyword of ``CONDITIONS``; a keyword that is missing fits every object.
        priority: of the reading, as in ``apps.inference.models.Priority``; None: what the sender asks for.
        destinations: where the results of the study go; empty: to every destination of the tenant.
    """

    id: UUID
    name: str
    conditions: Mapping[str, str]
    action: str
    priority: int | None = None
    destinations: tuple[UUID, ...] = ()
    is_enabled: bool = True

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            id=UUID(stored["id"]),
            name=stored["name"],
            conditions=stored["conditions"],
            action=stored["action"],
            priority=stored["priority"],
            destinations=tuple(UUID(each) for each in stored["destinations"]),
            is_enabled=stored["is_enabled"],
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "conditions": dict(self.conditions),
            "action": str(self.action),
            "priority": self.priority,
            "destinations": [str(each) for each in self.destinations],
            "is_enabled": self.is_enabled,
        }

    def compare(self, values: Mapping[str, str]) -> list[Comparison]:
        """Each condition of this rule with the object's value, in the order of ``CONDITIONS``."""
        return [
            Comparison(
                keyword, self.conditions[keyword], values[keyword], fits(self.conditions[keyword], values[keyword])
            )
            for keyword in CONDITIONS
            if keyword in self.conditions
        ]

    def matches(self, values: Mapping[str, str]) -> bool:
        return all(fits(wanted, values[keyword]) for keyword, wanted in self.conditions.items())

    @property
    def action_text(self) -> str:
        return str(Action(self.action).label)

    @property
    def shown_conditions(self) -> list[tuple[str, Promise, str]]:
        """Of each condition its keyword, its name and its patterns."""
        return [
            (keyword, name, self.conditions[keyword])
            for keyword, name in CONDITIONS.items()
            if keyword in self.conditions
        ]


@dataclass(frozen=True)
class Decision:
    """What a tenant's rules say about an object; without a rule, the checks that hold for everybody decide."""

    rule: Rule | None = None
    policy: int = field(default=0, compare=False)

    @property
    def is_refused(self) -> bool:
        return self.rule is not None and self.rule.action == Action.REFUSE


def values_of(found: ArrivingObject, calling_ae_title: str = "") -> dict[str, str]:
    """The object's values of ``CONDITIONS``; empty where it has none."""
    own = {"SOPClassUID": found.sop_class_uid, CALLING_AE_TITLE: calling_ae_title}
    return {keyword: own.get(keyword, found.attributes.get(keyword, "")) for keyword in CONDITIONS}


def first_match(rules: Iterable[Rule], values: Mapping[str, str]) -> Rule | None:
    """The first enabled rule that matches."""
    return next((rule for rule in rules if rule.is_enabled and rule.matches(values)), None)


def patterns(wanted: str) -> list[str]:
    """The patterns of a condition, which commas separate."""
    return [pattern for each in wanted.split(",") if (pattern := _plain(each))]


def fits(wanted: str, found: str) -> bool:
    """Whether a value fits one of a condition's patterns, in which ``*`` and ``?`` stand for other characters.

    Capital and small letters are equal, and so are spaces of any number. Of several values (``\\``), one must fit.
    """
    values = [_plain(each) for each in found.split("\\")]
    return any(_fits_pattern(pattern, value) for pattern in patterns(wanted) for value in values)


def _plain(text: str) -> str:
    return _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip().casefold()


def _fits_pattern(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern as a whole.

    Where a character differs, only the last ``*`` takes one character more: so the time is at most the product of both
    lengths, which a regular expression does not promise for a pattern with many ``*``.
    """
    at = place = 0
    star, from_star = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, from_star = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            from_star += 1
            at, place = star + 1, from_star
        else:
            return False
    return not pattern[at:].strip("*")


def moved(rules: Sequence[Rule], rule_id: UUID, by: int) -> list[Rule]:
    """The rules with one of them moved by so many places; the first and the last stay where there is no place."""
    ordered = list(rules)
    place = next(number for number, rule in enumerate(ordered) if rule.id == rule_id)
    rule = ordered.pop(place)
    ordered.insert(max(0, min(len(ordered), place + by)), rule)
    return ordered
