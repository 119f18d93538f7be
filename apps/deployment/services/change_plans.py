"""The operator's versions of the change plan."""

from collections.abc import Mapping

from django.db.models import Max

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError
from apps.deployment.change_plan import PARTS, current_plan
from apps.deployment.ledger.entries import locked_scope
from apps.deployment.models import ChangePlan


def write_change_plan(*, parts: Mapping[str, str], reason: str, by: Actor) -> ChangePlan:
    """Store the next version of the plan; ledger entries from now on cite it.

    Args:
        parts: the text of each of `PARTS`.
        reason: what changed.

    Raises:
        InvalidInputError: a part or the reason is empty, or nothing was changed.
    """
    # Under the lock of every change: each entry cites the plan that was in force, and of two plans one comes later.
    with locked_scope(None):
        former = current_plan()
        texts = {name: parts.get(name, "").strip() for name in PARTS}
        if missing := [name.replace("_", " ") for name, text in texts.items() if not text]:
            raise InvalidInputError(f"Write something under {', '.join(missing)}.")
        if not reason.strip():
            raise InvalidInputError("Say what changed and why.", "reason-missing")
        if all(getattr(former, name) == text for name, text in texts.items()):
            raise InvalidInputError(f"Nothing differs from {former}.", "unchanged")
        number = (ChangePlan.objects.aggregate(last=Max("number"))["last"] or 0) + 1
        return ChangePlan.objects.create(number=number, **texts, reason=reason.strip(), by_id=by.user_id, actor=by.name)
