"""Revocation of API keys."""

from uuid import UUID

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import NotFoundError
from apps.tenants.models import ApiClient


def revoke_api_key(*, key_id: UUID) -> ApiClient:
    """End a key of the tenant in force at once; a revoked one stays as it is.

    Raises:
        NotFoundError: the tenant has no such key.
    """
    client = ApiClient.objects.select_for_update().filter(pk=key_id).first()
    if client is None:
        raise NotFoundError(_("This hospital has no such API key."), "api-key-not-found")
    if client.revoked is None:
        client.revoked = timezone.now()
        client.save(update_fields=["revoked"])
    return client
