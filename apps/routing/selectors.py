"""Selectors for DICOM peers, and the decision whether a caller may open an association."""

from dataclasses import dataclass
from ipaddress import ip_network
from uuid import UUID

from apps.routing.models import Peer, Refusal
from apps.routing.peer_fields import Address, certificate_fits
from apps.tenants.models import Tenant

_REFUSALS_SHOWN = 20
_TENANT_COLUMNS = ("id", "slug", "name", "ae_title", "is_active")
_TENANT_OF_PEER = tuple(f"tenant__{column}" for column in _TENANT_COLUMNS)


@dataclass(frozen=True)
class Caller:
    """The caller that opens an association: the titles of its A-ASSOCIATE-RQ (PS3.8 9.3.2), and its connection.

    Attributes:
        called: the called AE title, which names the tenant.
        calling: the calling AE title.
        address: the address of its end of the connection.
        fingerprint: SHA-256 of the verified client certificate; empty without one.
        subject: the subject of that certificate.
    """

    called: str
    calling: str
    address: Address
    fingerprint: str = ""
    subject: str = ""


@dataclass(frozen=True)
class PeerAdmission:
    """The decision about a caller: the peer's row if it may send, otherwise the reason, which only the tenant sees.

    Attributes:
        tenant: the tenant that it called; None if no tenant has this AE title.
        peer_id: the row of the peer.
        reason: why it is refused; None with a peer.
        is_send_only: whether the peer may send, and neither find nor retrieve.
    """

    tenant: Tenant | None
    peer_id: UUID | None = None
    reason: Refusal.Reason | None = None
    is_send_only: bool = True


def admit_caller(caller: Caller) -> PeerAdmission:
    """Look a caller up in the peers of the tenant that it calls; called before a tenant is in force."""
    named = Peer.objects.using("auth").filter(tenant__ae_title=caller.called, ae_title=caller.calling)
    # One query, because this runs for every instance; only the columns that this role may read.
    listed = list(
        named.select_related("tenant").only("network", "certificate", "is_send_only", "tenant", *_TENANT_OF_PEER)
    )
    if listed:
        tenant: Tenant | None = listed[0].tenant
    else:
        tenant = Tenant.objects.using("auth").filter(ae_title=caller.called).only(*_TENANT_COLUMNS).first()
    if tenant is None:
        return PeerAdmission(None)
    if not tenant.is_active:
        return PeerAdmission(tenant, reason=Refusal.Reason.CLOSED)
    if not listed:
        return PeerAdmission(tenant, reason=Refusal.Reason.NOT_LISTED)
    here = [peer for peer in listed if caller.address in ip_network(peer.network)]
    if not here:
        return PeerAdmission(tenant, reason=Refusal.Reason.OTHER_ADDRESS)
    for peer in here:
        if certificate_fits(peer.certificate, fingerprint=caller.fingerprint, subject=caller.subject):
            return PeerAdmission(tenant, peer_id=peer.id, is_send_only=peer.is_send_only)
    return PeerAdmission(tenant, reason=Refusal.Reason.OTHER_CERTIFICATE)


def find_receiver(ae_title: str) -> Peer | None:
    """The peer of the tenant in force with this AE title and a host; None where there is none."""
    return Peer.objects.filter(ae_title=ae_title).exclude(host="").first()


def peers() -> list[Peer]:
    """The peers of the tenant in force."""
    return list(Peer.objects.order_by("ae_title", "network"))


def refusals() -> list[Refusal]:
    """The latest refusals of the tenant in force, latest first."""
    return list(Refusal.objects.order_by("-last")[:_REFUSALS_SHOWN])
