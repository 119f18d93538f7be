"""The request, as the tenant middleware leaves it."""

from django.http import HttpRequest

from apps.tenants.models import ApiClient, Membership, Tenant


class TenantRequest(HttpRequest):
    """A request behind ``TenantTransactionMiddleware``.

    Attributes:
        tenant: the tenant in force, or None for somebody who has not entered one.
        membership: the signed-in person's role there.
        api_client: the machine that sent a valid key.
    """

    tenant: Tenant | None
    membership: Membership | None
    api_client: ApiClient | None
