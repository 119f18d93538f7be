"""The request of somebody who is signed in and has entered a tenant."""

from apps.accounts.models import User
from apps.tenants.http import TenantRequest
from apps.tenants.models import Membership, Tenant


class MemberRequest(TenantRequest):
    """What the portal's views receive behind their sign-in check."""

    user: User
    tenant: Tenant
    membership: Membership
