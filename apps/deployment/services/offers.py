"""Which hospitals may name a version in /predict and Quick check before it reads there. An offer moves nothing."""

from apps.core.errors import ConflictError
from apps.deployment.models import Offer
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM, Tenant


def offer(*, version: ModelVersion, actor: str, tenant: Tenant | None = None) -> Offer:
    """Let a tenant, or with None every tenant, name the version; the same offer again is the one that stands.

    Raises:
        ConflictError: the version is retired.
    """
    if version.retired is not None:
        raise ConflictError(f"{version} is retired: nobody may name it.", "version-retired")
    return Offer.objects.get_or_create(model_version=version, for_tenant=tenant, defaults={"actor": actor})[0]


def withdraw_offer(*, version: ModelVersion, tenant: Tenant | None = None) -> None:
    """Take an offer back. What reads or has read for the tenant may be named all the same.

    Raises:
        ConflictError: there is no such offer.
    """
    if not Offer.objects.filter(model_version=version, for_tenant=tenant).delete()[0]:
        raise ConflictError(f"{version} is not offered to {tenant or PLATFORM}.", "not-offered")
