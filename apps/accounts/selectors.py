"""Selectors for the pages about members, invitations and API keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import Invitation, User
from apps.core.errors import NotFoundError
from apps.tenants.models import ApiClient, ApiScope, Membership, Tenant, TenantModel

T = TypeVar("T", bound=TenantModel)


@dataclass(frozen=True)
class KeyLine:
    """One API key with what its row in a list shows."""

    key: ApiClient
    creator: str
    creator_has_left: bool
    now: datetime

    @property
    def is_valid(self) -> bool:
        return self.key.revoked is None and (self.key.expires is None or self.key.expires > self.now)

    @property
    def scopes(self) -> list[str]:
        return [str(ApiScope(each).label) if each in ApiScope.values else each for each in self.key.scopes]


def members() -> list[Membership]:
    """The members of the tenant in force."""
    return list(Membership.objects.select_related("user").order_by("user__full_name", "user__email"))


def member(member_id: UUID) -> Membership:
    """One member of the tenant in force.

    Raises:
        NotFoundError
    """
    found = Membership.objects.select_related("user").filter(pk=member_id).first()
    if found is None:
        raise NotFoundError(_("This hospital has no such member."), "member-not-found")
    return found


def open_invitations() -> list[Invitation]:
    """The invitations of the tenant in force that can still be used, the newest first."""
    waiting = Invitation.objects.filter(accepted=None, withdrawn=None, expires__gt=timezone.now())
    return list(waiting.select_related("created_by").order_by("-created"))


def keys() -> list[KeyLine]:
    """All keys of the tenant in force, valid keys first."""
    lines = _lines(ApiClient.objects.order_by("-created"))
    return sorted(lines, key=lambda each: not each.is_valid)


def keys_created_by(user_id: UUID) -> list[KeyLine]:
    """The keys of the tenant in force that this user created."""
    return _lines(ApiClient.objects.filter(created_by=user_id).order_by("-created"))


def _lines(clients: Iterable[ApiClient]) -> list[KeyLine]:
    found = list(clients)
    creators = User.objects.in_bulk({each.created_by_id for each in found} - {None})
    active_creator_ids = set(
        Membership.objects.filter(user__in=creators, user__is_active=True).values_list("user_id", flat=True)
    )
    now = timezone.now()
    return [
        KeyLine(
            key=each,
            creator=str(creators[each.created_by_id]) if each.created_by_id else "",
            creator_has_left=each.created_by_id is not None and each.created_by_id not in active_creator_ids,
            now=now,
        )
        for each in found
    ]


def memberships_of_user(user_id: UUID) -> list[Membership]:
    """A user's memberships in all tenants, for operators; called while no tenant is in force."""
    found = Membership.objects.using("auth").filter(user=user_id).only("tenant_id", "user_id", "role")
    return _with_tenants(list(found))


def valid_keys_of_user(user_id: UUID) -> list[ApiClient]:
    """A user's valid API keys, in all tenants; called while no tenant is in force."""
    found = ApiClient.objects.using("auth").filter(created_by=user_id, revoked=None)
    live = found.exclude(expires__lte=timezone.now()).only("tenant_id", "name", "created_by_id")
    return _with_tenants(list(live))


def _with_tenants(rows: list[T]) -> list[T]:
    tenants = Tenant.objects.in_bulk({each.tenant_id for each in rows})
    for each in rows:
        each.tenant = tenants[each.tenant_id]
    return sorted(rows, key=lambda each: each.tenant.name)
