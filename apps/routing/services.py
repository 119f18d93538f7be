"""Services for a tenant's DICOM peers, and for recording accepted and refused callers."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.routing.models import Peer, Refusal
from apps.routing.peer_fields import clean_ae_title, clean_certificate, clean_network

# An attacker can use any AE title, so the number of rows is bounded: the latest are kept.
REFUSALS_KEPT: Final = 200
_ASSOCIATE: Final = "dimse:associate"


def add_peer(*, ae_title: str, network: str, certificate: str = "", description: str = "", by: Actor) -> Peer:
    """List a peer for the tenant in force.

    Raises:
        InvalidInputError: the AE title, the network or the certificate cannot be used.
        ConflictError: it is listed already.
    """
    peer = Peer(description=description.strip())
    _fill(peer, ae_title, network, certificate)
    peer.save(force_insert=True)
    record(action=AuditEvent.Action.PEER_ADDED, by=by, object_id=peer.pk)
    return peer


def change_peer(*, peer_id: UUID, ae_title: str, network: str, certificate: str, description: str, by: Actor) -> Peer:
    """Change a peer of the tenant in force; effective from its next association and its next instance on.

    Raises:
        NotFoundError, InvalidInputError, ConflictError
    """
    peer = find_peer(peer_id)
    peer.description = description.strip()
    _fill(peer, ae_title, network, certificate)
    peer.save()
    record(action=AuditEvent.Action.PEER_CHANGED, by=by, object_id=peer.pk)
    return peer


def remove_peer(*, peer_id: UUID, by: Actor) -> Peer:
    """Remove a peer of the tenant in force. An association that it has open stores nothing more.

    Raises:
        NotFoundError
    """
    peer = find_peer(peer_id)
    Peer.objects.filter(pk=peer_id).delete()
    record(action=AuditEvent.Action.PEER_REMOVED, by=by, object_id=peer_id)
    return peer


def find_peer(peer_id: UUID) -> Peer:
    """The peer of the tenant in force.

    Raises:
        NotFoundError
    """
    peer = Peer.objects.filter(pk=peer_id).first()
    if peer is None:
        raise NotFoundError("There is no such DICOM peer here.", "peer-not-found")
    return peer


def note_seen(*, peer_id: UUID, at: datetime) -> None:
    """Store when a peer of the tenant in force was last accepted."""
    Peer.objects.filter(pk=peer_id).update(last_seen=at)


def note_refusal(*, ae_title: str, address: str, reason: Refusal.Reason, amount: int, by: Actor) -> None:
    """Count refusals of one caller by the tenant in force, and write one line of audit for all of them."""
    now = timezone.now()
    refusal, is_new = Refusal.objects.get_or_create(
        ae_title=ae_title,
        address=address,
        defaults={"reason": reason, "first": now, "last": now, "amount": amount},
    )
    if not is_new:
        Refusal.objects.filter(pk=refusal.pk).update(reason=reason, last=now, amount=F("amount") + amount)
    else:
        kept = Refusal.objects.order_by("-last").values("pk")[:REFUSALS_KEPT]
        Refusal.objects.exclude(pk__in=kept).delete()
    record(
        action=AuditEvent.Action.PEER_REFUSED,
        by=by,
        object_id=refusal.pk,
        amount=amount,
        operation=_ASSOCIATE,
        outcome=AuditEvent.Outcome.MINOR_FAILURE,
    )


def _fill(peer: Peer, ae_title: str, network: str, certificate: str) -> None:
    try:
        peer.ae_title = clean_ae_title(ae_title)
        peer.network = clean_network(network)
        peer.certificate = clean_certificate(certificate)
        peer.clean_fields(exclude=["tenant"])
    except ValidationError as error:
        raise InvalidInputError(" ".join(error.messages)) from error
    if Peer.objects.filter(ae_title=peer.ae_title, network=peer.network).exclude(pk=peer.pk).exists():
        raise ConflictError(f"{peer} is listed already.", "peer-listed")
