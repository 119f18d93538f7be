"""Services for a tenant's DICOM peers, and for recording accepted and refused callers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.routing.models import Destination, Peer, PeerProblem, Refusal
from apps.routing.peer_fields import LARGEST_PORT, clean_ae_title, clean_certificate, clean_host, clean_network
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

# An attacker can use any AE title, so the number of rows is bounded: the latest are kept.
REFUSALS_KEPT: Final = 200
_ASSOCIATE: Final = "dimse:associate"


@dataclass(frozen=True)
class PeerFields:
    """What an administrator says about a peer, as they wrote it.

    Attributes:
        is_send_only: whether it may neither find nor retrieve.
        host, port, tls: where we open associations with it; an empty host: never.
    """

    ae_title: str
    network: str
    certificate: str = ""
    description: str = ""
    is_send_only: bool = False
    host: str = ""
    port: int | None = None
    tls: bool = False


def add_peer(*, fields: PeerFields, membership: Membership | None, by: Actor) -> Peer:
    """List a peer for the tenant in force.

    Raises:
        NotPermittedError: the member is not an administrator.
        InvalidInputError: a field cannot be used.
        ConflictError: it is listed already.
    """
    require_role(membership, Role.ADMIN)
    return add_peer_as_operator(fields=fields, by=by)


def add_peer_as_operator(*, fields: PeerFields, by: Actor) -> Peer:
    """As `add_peer`, for commands: a person who can run them on the server needs no role in a hospital.

    Raises:
        InvalidInputError, ConflictError
    """
    peer = Peer()
    _fill(peer, fields)
    peer.save(force_insert=True)
    record(action=AuditEvent.Action.PEER_ADDED, by=by, object_id=peer.pk)
    return peer


def change_peer(*, peer_id: UUID, fields: PeerFields, membership: Membership | None, by: Actor) -> Peer:
    """Change a peer of the tenant in force; effective from its next association and its next instance on.

    Raises:
        NotPermittedError: the member is not an administrator.
        NotFoundError, InvalidInputError, ConflictError
    """
    require_role(membership, Role.ADMIN)
    peer = find_peer(peer_id)
    _fill(peer, fields)
    peer.save()
    record(action=AuditEvent.Action.PEER_CHANGED, by=by, object_id=peer.pk)
    return peer


def remove_peer(*, peer_id: UUID, membership: Membership | None, by: Actor) -> Peer:
    """Remove a peer of the tenant in force. An association that it has open stores nothing more.

    Raises:
        NotPermittedError: the member is not an administrator.
        NotFoundError
        ConflictError: it is a destination of results.
    """
    require_role(membership, Role.ADMIN)
    peer = find_peer(peer_id)
    destination = Destination.objects.filter(peer=peer_id).first()
    if destination is not None:
        raise ConflictError(
            _("Results are sent to it: remove the destination %(name)s first.") % {"name": destination.name},
            "peer-is-destination",
        )
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
        raise NotFoundError(_("There is no such DICOM peer here."), "peer-not-found")
    return peer


def note_seen(*, peer_id: UUID, at: datetime) -> None:
    """Store when a peer of the tenant in force was last accepted."""
    Peer.objects.filter(pk=peer_id).update(last_seen=at)


def note_reached(*, peer_id: UUID) -> None:
    """Store that a peer of the tenant in force answered us."""
    Peer.objects.filter(pk=peer_id).update(last_reached=timezone.now(), last_problem="", last_problem_at=None)


def note_problem(*, peer_id: UUID, problem: PeerProblem) -> None:
    """Store why a peer of the tenant in force could not be reached."""
    Peer.objects.filter(pk=peer_id).update(last_problem=problem.value, last_problem_at=timezone.now())


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


def _fill(peer: Peer, fields: PeerFields) -> None:
    was_called_at = (peer.called_at, peer.tls)
    try:
        peer.ae_title = clean_ae_title(fields.ae_title)
        peer.network = clean_network(fields.network)
        peer.certificate = clean_certificate(fields.certificate)
        peer.description = fields.description.strip()
        peer.is_send_only = fields.is_send_only
        peer.host = clean_host(fields.host)
        peer.port = fields.port if peer.host else None
        peer.tls = fields.tls and bool(peer.host)
        peer.clean_fields(exclude=["tenant"])
    except ValidationError as error:
        raise InvalidInputError(" ".join(error.messages)) from error
    if peer.host and not 1 <= (peer.port or 0) <= LARGEST_PORT:
        raise InvalidInputError(_("Give the port, from 1 to 65535, on which it takes associations."))
    if (peer.called_at, peer.tls) != was_called_at:
        # What was seen at the former address says nothing about the new one.
        peer.last_reached = peer.last_problem_at = None
        peer.last_problem = ""
    others = Peer.objects.filter(ae_title=peer.ae_title).exclude(pk=peer.pk)
    if peer.host and others.exclude(host="").exists():
        raise ConflictError(
            _("Another entry with this AE title has a host already: one AE title is called at one place."),
            "peer-host-listed",
        )
    if Peer.objects.filter(ae_title=peer.ae_title, network=peer.network).exclude(pk=peer.pk).exists():
        raise ConflictError(_("%(peer)s is listed already.") % {"peer": peer}, "peer-listed")
