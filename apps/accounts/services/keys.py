"""Services for API keys: a tenant's administrators create and revoke them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import InvalidInputError, NotPermittedError
from apps.tenants.models import ApiClient, ApiScope, Membership, Role
from apps.tenants.revocation import revoke_api_key
from apps.tenants.services import create_api_key, require_role


def create_key(
    *, name: str, scopes: Sequence[str], expires: datetime | None, membership: Membership | None, by: Actor
) -> str:
    """Create a key of the tenant in force and return its text, which is never stored.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        InvalidInputError: no scope, an unknown scope, or an expiry in the past.
    """
    require_role(membership, Role.ADMIN)
    if not scopes or not set(scopes) <= set(ApiScope.values):
        raise InvalidInputError(
            _("Choose one or more of the scopes %(join)s.") % {"join": ", ".join(ApiScope.values)}, "scopes-unknown"
        )
    if expires is not None and expires <= timezone.now():
        raise InvalidInputError(_("The key would expire in the past: choose a later day."), "expiry-passed")
    key, text = create_api_key(name=name, scopes=list(scopes), expires=expires, created_by=by.user_id)
    record(action=AuditEvent.Action.KEY_CREATED, by=by, object_id=key.pk)
    return text


def revoke_key(*, key_id: UUID, membership: Membership | None, by: Actor) -> ApiClient:
    """Revoke a key of the tenant in force at once.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        NotFoundError: the tenant has no such key.
    """
    require_role(membership, Role.ADMIN)
    return _revoke(key_id, by)


def revoke_key_as_operator(*, key_id: UUID, operator: User, by: Actor) -> ApiClient:
    """Revoke a key as an operator. A leaked key must end even if no administrator is available.

    Raises:
        NotPermittedError: the caller is not an operator.
        NotFoundError: the tenant has no such key.
    """
    if not operator.is_staff:
        raise NotPermittedError(_("Only an operator of the platform can do this."))
    return _revoke(key_id, by)


def _revoke(key_id: UUID, by: Actor) -> ApiClient:
    was_revoked = ApiClient.objects.filter(pk=key_id).exclude(revoked=None).exists()
    key = revoke_api_key(key_id=key_id)
    if not was_revoked:
        record(action=AuditEvent.Action.KEY_REVOKED, by=by, object_id=key.pk)
    return key
