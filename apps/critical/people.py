"""Who is notified: members who can sign in. Who left the hospital, or whose account is disabled, drops out."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from apps.accounts.models import User
from apps.critical.mails import queue_mails
from apps.critical.models import CriticalNotice, NoticeEvent
from apps.tenants.models import Membership, Role


def reachable(user_ids: Collection[object]) -> list[User]:
    """Those of these users who are members of the tenant in force and can sign in."""
    found = Membership.objects.filter(user__in=list(user_ids), user__is_active=True).select_related("user")
    return [member.user for member in found.order_by("pk")]


def administrators() -> list[User]:
    """The administrators of the tenant in force who can sign in."""
    found = Membership.objects.filter(role=Role.ADMIN, user__is_active=True).select_related("user")
    return [member.user for member in found.order_by("pk")]


def notify(notified: Mapping[NoticeEvent.Kind, Sequence[tuple[CriticalNotice, User]]], at: datetime) -> None:
    """Write into the trail who is notified of which notice, and queue one mail to each person."""
    mails = queue_mails({user for pairs in notified.values() for _, user in pairs})
    NoticeEvent.objects.bulk_create(
        [
            NoticeEvent(notice=notice, kind=kind, at=at, user=user, mail=mails.get(user.pk))
            for kind, pairs in notified.items()
            for notice, user in pairs
        ],
        batch_size=500,
    )
