"""REST framework authentication by what the tenant middleware found: an API key, or a signed-in member."""

from typing import cast

from django.contrib.auth.base_user import AbstractBaseUser
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.tenants.http import TenantRequest
from apps.tenants.models import ApiClient, Membership
from apps.tenants.services import sees_findings


class TenantAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[AbstractBaseUser | None, ApiClient | None] | None:
        raw = cast(TenantRequest, request._request)
        if raw.api_client is not None:
            return None, raw.api_client
        if "Authorization" in raw.headers:
            raise AuthenticationFailed("This API key is unknown, revoked or expired. Ask your administrator for one.")
        if raw.membership is not None:
            _enforce_csrf(request)
            return cast(AbstractBaseUser, raw.user), None
        return None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Checxray"'


def _enforce_csrf(request: Request) -> None:
    check = CSRFCheck(lambda _: None)  # type: ignore[arg-type]
    check.process_request(request._request)
    reason = check.process_view(request._request, None, (), {})  # type: ignore[arg-type]
    if reason:
        raise PermissionDenied(f"This page is out of date: reload it and try again. (CSRF: {reason})")


class HasTenant(BasePermission):
    """Allows members and API keys of the tenant in force; a key needs the view's ``required_scope`` as well."""

    def has_permission(self, request: Request, view: object) -> bool:
        raw = cast(TenantRequest, request._request)
        if raw.api_client is None:
            return raw.membership is not None and self._may_see(raw.membership, view)
        needed = getattr(view, "required_scope", None)
        self.message = f"This address needs an API key with the scope {needed}. Ask your administrator for one."
        return needed in raw.api_client.scopes

    def _may_see(self, membership: Membership, view: object) -> bool:
        """A view with ``shows_findings`` answers readers only; a key's scopes decide for machines."""
        self.message = "This address shows findings; it needs the role radiologist in this hospital."
        return sees_findings(membership) or not getattr(view, "shows_findings", False)
