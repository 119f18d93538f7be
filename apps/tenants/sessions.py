"""The tenant that a signed-in user has entered, as the session stores it."""

from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase

from apps.tenants.models import Membership
from apps.tenants.services import find_membership

SESSION_KEY = "tenant_id"
# A member who was removed and joins again has another membership, so that the former sessions stay ended.
MEMBERSHIP_KEY = "membership_id"


def enter_tenant(session: SessionBase, membership: Membership) -> None:
    """Put the membership's tenant in force for the requests that follow."""
    session[SESSION_KEY] = str(membership.tenant_id)
    session[MEMBERSHIP_KEY] = str(membership.pk)


def membership_of_session(session: SessionBase, user_id: UUID) -> Membership | None:
    """The membership with which the session entered its tenant; where it has ended, the session leaves the tenant."""
    tenant_id = session.get(SESSION_KEY)
    if not tenant_id:
        return None
    membership = find_membership(tenant_id=UUID(tenant_id), user_id=user_id)
    if membership is None or str(membership.pk) != session.get(MEMBERSHIP_KEY):
        session.pop(SESSION_KEY, None)
        session.pop(MEMBERSHIP_KEY, None)
        return None
    return membership
