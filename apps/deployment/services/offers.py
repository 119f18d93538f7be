"""Offers: which versions a hospital may name in /predict and Quick check before they are in service there."""

from apps.audit.services import Actor
from apps.core.errors import ConflictError
from apps.deployment.models import Offer
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM, Tenant


def offer(*, version: ModelVersion, by: Actor, tenant: Tenant | None = None) -> Offer:
    """Let a tenant, or with None every tenant, name the version. An offer that exists already is returned.

    Raises:
        ConflictError: the version is retired.
    """
    if version.retired is not None:
        raise ConflictError(f"{version} is retired: it cannot be named.", "version-retired")
    return Offer.objects.get_or_create(model_version=version, for_tenant=tenant, defaults={"actor": by.name})[0]


def withdraw_offer(*, version: ModelVersion, tenant: Tenant | None = None) -> None:
    """Delete an offer. A version that reads or has read for the tenant can still be named.

    Raises:
        ConflictError: there is no such offer.
    """
    if not Offer.objects.filter(model_version=version, for_tenant=tenant).delete()[0]:
        raise ConflictError(f"{version} is not offered to {tenant or PLATFORM}.", "not-offered")
