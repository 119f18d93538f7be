"""Services for the web origins that may call DICOMweb with a tenant's keys."""

from collections.abc import Iterable

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.tenants.models import AllowedOrigin, Membership, Role
from apps.tenants.origins import clean_origins
from apps.tenants.services import require_role


def set_allowed_origins(*, origins: Iterable[str], membership: Membership | None, by: Actor) -> list[str]:
    """Replace the origins of the tenant in force; they hold from the next request on.

    Raises:
        NotPermittedError: the caller is not an administrator of this tenant.
        InvalidInputError: one is no origin.
    """
    require_role(membership, Role.ADMIN)
    wanted = clean_origins(origins)
    AllowedOrigin.objects.exclude(origin__in=wanted).delete()
    AllowedOrigin.objects.bulk_create([AllowedOrigin(origin=origin) for origin in wanted], ignore_conflicts=True)
    record(action=AuditEvent.Action.ORIGINS_CHANGED, by=by, amount=len(wanted))
    return wanted
