"""Services for how a tenant reads."""

import re
import zoneinfo
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import InvalidInputError, NotFoundError
from apps.core.text import clean_text
from apps.reading.models import URGENCY, AiDisplay, Language, ReadingPolicy, TextBlock
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role


def change_reading_policy(*, membership: Membership | None, by: Actor, **values: Any) -> ReadingPolicy:
    """Change fields of the policy of the tenant in force; the others stay as they are.

    Raises:
        NotPermittedError: no administrator.
        InvalidInputError: a value cannot be used.
    """
    require_role(membership, Role.ADMIN)
    _require_usable(values)
    policy, _created = ReadingPolicy.objects.update_or_create(defaults=values)
    record(action=AuditEvent.Action.READING_POLICY_CHANGED, by=by, object_id=policy.pk)
    return policy


def _require_usable(values: dict[str, Any]) -> None:
    if "urgency" in values and sorted(values["urgency"]) != sorted(URGENCY):
        raise InvalidInputError(_("The order of urgency must name each finding once."), "urgency-incomplete")
    if "time_zone" in values and values["time_zone"] not in zoneinfo.available_timezones():
        raise InvalidInputError(_("There is no such time zone. Use a name such as Europe/Berlin."), "time-zone-unknown")
    for name, choices in (("ai_display", AiDisplay), ("language", Language)):
        if name in values and values[name] not in choices.values:
            raise InvalidInputError(f"{values[name]!r} is none of {', '.join(choices.values)}.", f"{name}-unknown")


LONGEST_TEXT = 4000
MOST_TEXTS = 200
"""Of one person, or of the hospital: the page of each study lists all of them."""
_NAME = re.compile(r"\w[\w-]{0,29}")


def save_text(
    *, name: str, text: str, owner: User | None, membership: Membership | None, by: Actor, pk: UUID | None = None
) -> TextBlock:
    """Store a text that readers insert, or change one.

    Args:
        name: letters, digits, `_` and `-`; it is stored in small letters.
        owner: the person who saves an own text; None for a text of the hospital, which its administrator saves.
        pk: the text that is changed.

    Raises:
        NotPermittedError: the member may not change such a text.
        NotFoundError: there is no such text.
        InvalidInputError: the name or the text cannot be used, the name is taken, or there are too many texts.
    """
    require_role(membership, Role.ADMIN if owner is None else Role.RADIOLOGIST)
    name = name.strip().removeprefix(".").lower()
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            _("A name has up to 30 letters, digits, hyphens and underscores, and begins with a letter or digit."),
            "text-name-unusable",
        )
    text = clean_text(text, name="text", longest=LONGEST_TEXT)
    if not text:
        raise InvalidInputError(_("Enter the text that is inserted."), "text-missing")
    if pk is None and TextBlock.objects.filter(owner=owner).count() >= MOST_TEXTS:
        raise InvalidInputError(
            _("There are %(most)d texts, the most there can be. Remove one first.") % {"most": MOST_TEXTS},
            "too-many-texts",
        )
    block = TextBlock(owner=owner) if pk is None else find_text(pk=pk, owner=owner)
    if TextBlock.objects.filter(owner=owner, name=name).exclude(pk=block.pk).exists():
        raise InvalidInputError(_("There is a text of that name already: change that one."), "text-name-taken")
    block.name, block.text = name, text
    block.save()
    record(action=AuditEvent.Action.TEXT_CHANGED, by=by, object_id=block.pk)
    return block


def remove_text(*, pk: UUID, owner: User | None, membership: Membership | None, by: Actor) -> TextBlock:
    """Remove a text that readers insert; what it was inserted into stays.

    Raises:
        NotPermittedError: the member may not change such a text.
        NotFoundError: there is no such text.
    """
    require_role(membership, Role.ADMIN if owner is None else Role.RADIOLOGIST)
    block = find_text(pk=pk, owner=owner)
    block.delete()
    record(action=AuditEvent.Action.TEXT_CHANGED, by=by, object_id=pk)
    return block


def find_text(*, pk: UUID, owner: User | None) -> TextBlock:
    """A text of that owner. Raises NotFoundError where there is none."""
    block = TextBlock.objects.filter(pk=pk, owner=owner).first()
    if block is None:
        raise NotFoundError(_("There is no such text. It may have been removed meanwhile."), "text-not-found")
    return block
