"""The type of a request after the tenant middleware."""

from django.http import HttpRequest

from apps.tenants.models import ApiClient, Membership, Tenant


class TenantRequest(HttpRequest):
    """A request behind ``TenantTransactionMiddleware``.

    Attributes:
        tenant: the tenant in force; None where the user has not entered one.
        membership: the membership of the signed-in user in it.
        api_client: the API key that the request was sent with.
    """

    tenant: Tenant | None
    membership: Membership | None
    api_client: ApiClient | None
