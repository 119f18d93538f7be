"""Services for the members of a tenant: change a role, end a membership."""

from uuid import UUID

from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role


def change_role(*, member_id: UUID, role: str, membership: Membership | None, by: Actor) -> Membership:
    """Give a member of the tenant in force another role; it is effective from the member's next request on.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        NotFoundError: the tenant has no such member.
        InvalidInputError: no such role.
        ConflictError: the hospital would be left without an administrator.
    """
    require_role(membership, Role.ADMIN)
    if role not in Role.values:
        raise InvalidInputError(_("The role must be %(join)s.") % {"join": ", ".join(Role.values)}, "role-unknown")
    member = _locked(member_id)
    if member.role == role:
        return member
    _require_another_admin(member)
    member.role = role
    member.save(update_fields=["role"])
    record(action=AuditEvent.Action.MEMBER_ROLE_CHANGED, by=by, object_id=member.user_id)
    return member


def remove_member(*, member_id: UUID, membership: Membership | None, by: Actor) -> Membership:
    """End a membership at once: the user's next request is refused. The account and signed reports stay.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        NotFoundError: the tenant has no such member.
        ConflictError: the hospital would be left without an administrator.
    """
    require_role(membership, Role.ADMIN)
    member = _locked(member_id)
    _require_another_admin(member)
    Membership.objects.filter(pk=member.pk).delete()
    record(action=AuditEvent.Action.MEMBER_REMOVED, by=by, object_id=member.user_id)
    return member


def has_working_admin() -> bool:
    """Whether the tenant in force has an administrator who can sign in."""
    return Membership.objects.filter(role=Role.ADMIN, user__is_active=True).exists()


def _locked(member_id: UUID) -> Membership:
    """The member, with every administrator's row locked, so that two administrators cannot remove each other."""
    list(Membership.objects.select_for_update(of=("self",)).filter(role=Role.ADMIN).order_by("pk"))
    members = Membership.objects.select_for_update(of=("self",)).select_related("user")
    member = members.filter(pk=member_id).first()
    if member is None:
        raise NotFoundError(_("This hospital has no such member."), "member-not-found")
    return member


def _require_another_admin(member: Membership) -> None:
    if member.role != Role.ADMIN:
        return
    others = Membership.objects.filter(role=Role.ADMIN, user__is_active=True).exclude(pk=member.pk)
    if not others.exists():
        raise ConflictError(
            _("This is the hospital's only administrator. Make another member an administrator first."), "last-admin"
        )
