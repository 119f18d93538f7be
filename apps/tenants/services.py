"""Services for tenants, their members and their API keys."""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connections
from django.utils.translation import gettext

from apps.core.errors import NotFoundError, NotPermittedError
from apps.tenants.models import ApiClient, Membership, Role, Tenant
from apps.tenants.networks import split_networks
from apps.tenants.scope import current_tenant_id, tenant_tx

KEY_MARK = "chx"
_PREFIX_LENGTH = 8
# The columns of the tenant that the role `chx_auth` may read.
_TENANT = ("tenant__slug", "tenant__name", "tenant__ae_title", "tenant__is_active")


def create_api_key(
    *,
    name: str,
    scopes: list[str] | None = None,
    expires: datetime | None = None,
    created_by: UUID | None = None,
) -> tuple[ApiClient, str]:
    """Create an API key for the tenant in force. The caller records it.

    The key contains the id of its tenant, so that the key can be looked up under that tenant's row-level security. A
    key with another tenant's id finds nothing.

    Returns:
        The key's row, and its text, which is never stored.
    """
    token = tenant_token(KEY_MARK)
    client = ApiClient(name=name, key_hash=token.digest, prefix=token.secret[:_PREFIX_LENGTH], expires=expires)
    client.created_by_id = created_by
    if scopes is not None:
        client.scopes = scopes
    client.save()
    return client, token.text


@dataclass(frozen=True)
class TenantToken:
    """A secret together with the id of its tenant: ``text`` is shown once, ``digest`` (SHA-256) is stored."""

    text: str
    secret: str
    digest: str


def tenant_token(mark: str) -> TenantToken:
    """A new secret of the tenant in force; ``mark`` is the prefix for its kind."""
    secret = secrets.token_urlsafe(32)
    label = base64.urlsafe_b64encode(current_tenant_id().bytes).decode().rstrip("=")
    return TenantToken(text=f"{mark}_{label}.{secret}", secret=secret, digest=secret_digest(secret))


def secret_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def tenant_of_key(key: str, mark: str = KEY_MARK) -> tuple[UUID, str] | None:
    """The tenant id and the secret that a key contains; None where the text is not a key."""
    found, _, rest = key.partition("_")
    label, _, secret = rest.partition(".")
    if found != mark or not secret:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(label + "==")), secret
    except ValueError:
        return None


# Plain SQL, because every request with an API key runs it: the ORM made a STOW request cost 15 % more (ADR 4).
_VALID_KEY = """
select c.id, c.name, c.scopes, t.id, t.slug, t.name, t.ae_title, t.is_active
  from tenants_apiclient c join tenants_tenant t on t.id = c.tenant_id
 where c.tenant_id = %s and c.key_hash = %s and c.revoked is null and t.is_active
   and (c.expires is null or c.expires > now())
"""


def find_api_client(*, tenant_id: UUID, secret: str) -> ApiClient | None:
    """The valid key of an active tenant that has this secret; called before a tenant is in force."""
    with connections["auth"].cursor() as cursor:
        cursor.execute(_VALID_KEY, [tenant_id, secret_digest(secret)])
        row = cursor.fetchone()
    if row is None:
        return None
    key_id, name, scopes, *tenant = row
    client = ApiClient.from_db(
        "auth", ("id", "tenant_id", "name", "scopes"), (key_id, tenant_id, name, json.loads(scopes))
    )
    client.tenant = Tenant.from_db("auth", ("id", "slug", "name", "ae_title", "is_active"), tenant)
    return client


def find_membership(*, tenant_id: UUID, user_id: UUID) -> Membership | None:
    """The membership of a user in an active tenant; called before the tenant is in force."""
    memberships = Membership.objects.using("auth").select_related("tenant").only("user_id", "role", *_TENANT)
    return next(iter(memberships.filter(tenant=tenant_id, user=user_id, tenant__is_active=True)), None)


def tenants_of_user(*, user_id: UUID) -> list[Tenant]:
    """The active tenants that a user may enter; called before a tenant is in force."""
    ids = Membership.objects.using("auth").filter(user_id=user_id).values_list("tenant_id", flat=True)
    return list(Tenant.objects.filter(id__in=list(ids), is_active=True).order_by("name"))


def find_tenant(slug: str) -> Tenant:
    """The tenant with this slug.

    Raises:
        NotFoundError
    """
    tenant = Tenant.objects.filter(slug=slug).first()
    if tenant is None:
        known = ", ".join(Tenant.objects.order_by("slug").values_list("slug", flat=True)[:20]) or "none"
        raise NotFoundError(
            gettext("There is no tenant %(slug)s. Known: %(known)s.") % {"slug": repr(slug), "known": known},
            "tenant-not-found",
        )
    return tenant


def allowed_networks(tenant: Tenant) -> list[str]:
    """The private networks in which this tenant's destinations and DICOM peers may be, in CIDR notation.

    They are read again, because a tenant that was found before its transaction has only some of its columns.
    """
    return split_networks(Tenant.objects.values_list("private_networks", flat=True).get(pk=tenant.pk))


def add_member(*, tenant: Tenant, user_id: UUID, role: str) -> None:
    """Make a user a member without an invitation: for the demo's seed and for tests.

    Raises:
        IntegrityError: the user is an operator.
    """
    with tenant_tx(tenant.id):
        Membership.objects.update_or_create(user_id=user_id, defaults={"role": role})


def dismiss_notice(*, membership: Membership, number: int) -> None:
    """Show a member no more notices of changes up to this entry of the ledger."""
    Membership.objects.filter(pk=membership.pk, notice_seen__lt=number).update(notice_seen=number)


def sees_findings(membership: Membership | None) -> bool:
    """Whether a user may see findings and the contents of reports: radiologists only.

    Technologists acquire images and administrators manage the hospital's account. Neither acts on a result, so they
    get no finding in any form.
    """
    return membership is not None and membership.role == Role.RADIOLOGIST


def require_role(membership: Membership | None, *roles: str) -> None:
    """Refuse unless the signed-in user has one of the roles in the tenant in force."""
    if membership is None or membership.role not in roles:
        raise NotPermittedError(
            gettext("This needs the role %(join)s in this hospital.") % {"join": " or ".join(roles)}
        )
