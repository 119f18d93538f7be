"""Opens associations with DICOM peers (PS3.8): a checked address, bounded time and memory, and errors to act on.

pynetdicom 3.0.4 reads a PDU of any length and queues all PDUs of a message that it sends; both are bounded here.
"""

import queue
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from apps.core.errors import UnavailableError
from apps.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from apps.core.outbound import AddressNotAllowedError, UnreachableError, resolve_address
from apps.results.clients.tls import client_context, require_certificate
from apps.routing.models import PeerProblem

CONNECT_SECONDS: Final = 5
ASSOCIATE_SECONDS: Final = 10
# A large archive may take long to store an instance.
RESPONSE_SECONDS: Final = 60
STALLED_SECONDS: Final = 60
_MAX_PDU_BYTES: Final = 256 * 1024
_WAITING_PDUS: Final = 64
_QUEUE_FULL_SECONDS: Final = 0.002

# pynetdicom's settings are global. Instances are sent from files in pieces, and no data set is written to a log.
_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False

# Source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21).
_REJECTIONS: Final = {
    (1, 3): PeerProblem.CALLING_UNKNOWN,
    (1, 7): PeerProblem.CALLED_UNKNOWN,
    (3, 1): PeerProblem.BUSY,
    (3, 2): PeerProblem.BUSY,
}


@dataclass(frozen=True)
class RemoteNode:
    """A DICOM application that we open an association with.

    Attributes:
        ae_title: its AE title, which we call.
        calling_ae_title: ours.
        tls: whether it expects TLS.
        certificate: the fingerprint or subject of its certificate, as a `Peer` has it; empty: any that is valid for the
            host.
        networks: the private networks (CIDR notation) in which it may be; None: those of WEBHOOK_NETWORKS.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    tls: bool = False
    certificate: str = ""
    networks: tuple[str, ...] | None = None


class PeerError(UnavailableError):
    """A peer could not be reached, or did not accept the association."""

    def __init__(self, problem: PeerProblem) -> None:
        super().__init__(str(problem.label), problem.value)
        self.problem = problem


@contextmanager
def associated(
    node: RemoteNode,
    contexts: Sequence[PresentationContext],
    negotiation: Sequence[Any] = (),
    *,
    handlers: Sequence[Any] = (),
) -> Iterator[Association]:
    """An established association, released at the end, or aborted after an error.

    Args:
        contexts: at most 128 presentation contexts.
        negotiation: items of extended negotiation, such as roles.
        handlers: pynetdicom's event handlers, for what the peer asks of us.

    Raises:
        PeerError: there is no association.
    """
    connected = _connect(node)
    try:
        association = _request(node, connected, contexts, negotiation, handlers)
        try:
            yield association
            if association.is_established:
                association.release()
        finally:
            if association.is_established:
                association.abort(block=False)
    finally:
        # Ends pynetdicom's thread for the connection where it still waits for the peer.
        with suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        with suppress(OSError):
            connected.close()


def _connect(node: RemoteNode) -> socket.socket:
    try:
        address = resolve_address(node.host, node.port, node.networks)
    except AddressNotAllowedError as error:
        raise PeerError(PeerProblem.ADDRESS_NOT_ALLOWED) from error
    except UnreachableError as error:
        raise PeerError(PeerProblem.NAME_UNKNOWN) from error
    try:
        connected = socket.create_connection((address, node.port), CONNECT_SECONDS)
    except OSError as error:
        raise PeerError(PeerProblem.NO_ANSWER) from error
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if node.tls:
            connected = client_context(node.certificate).wrap_socket(connected, server_hostname=node.host)
            require_certificate(connected, node.certificate)
    except (OSError, ValueError) as error:
        connected.close()
        raise PeerError(PeerProblem.TLS_FAILED) from error
    connected.settimeout(STALLED_SECONDS)
    return connected


def _request(
    node: RemoteNode,
    connected: socket.socket,
    contexts: Sequence[PresentationContext],
    negotiation: Sequence[Any],
    handlers: Sequence[Any],
) -> Association:
    entity = _Entity(node.calling_ae_title, connected)
    address, port = connected.getpeername()[:2]
    association = entity.associate(
        address,
        port,
        contexts=list(contexts),
        ae_title=node.ae_title,
        ext_neg=list(negotiation),
        evt_handlers=list(handlers),
    )
    if association.is_established:
        return association
    raise PeerError(_problem_of(association))


def _problem_of(association: Association) -> PeerProblem:
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        return _REJECTIONS.get((answer.result_source, answer.diagnostic), PeerProblem.REFUSED)
    if association.rejected_contexts and not association.accepted_contexts:
        return PeerProblem.NO_CONTEXT
    return PeerProblem.ABORTED


class SendQueue(queue.Queue[Any]):
    """What waits to be sent in an association. A thread that adds data waits while many PDUs are in it."""

    def __init__(self, provider: Any) -> None:
        super().__init__()
        self._provider = provider

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As in the base class.

        Raises:
            ConnectionError: the connection is gone, or its peer reads nothing more.
        """
        deadline = time.monotonic() + STALLED_SECONDS
        while isinstance(item, P_DATA) and self.qsize() >= _WAITING_PDUS:
            if not self._provider.is_alive() or time.monotonic() > deadline:
                raise ConnectionError("The peer takes no more data.")
            time.sleep(_QUEUE_FULL_SECONDS)
        super().put(item, block, timeout)


class _Messages(DIMSEServiceProvider):
    """Cuts messages into PDUs of a bounded length, also where the peer takes any."""

    @property
    def maximum_pdu_size(self) -> int:
        return min(super().maximum_pdu_size or _MAX_PDU_BYTES, _MAX_PDU_BYTES)


def bound_memory(association: Association) -> None:
    """Bound what an association holds of a message that it sends; called before it sends anything."""
    association.dul.to_provider_queue = SendQueue(association.dul)
    association.dimse = _Messages(association)


class _Entity(AE):
    """Our application entity for one association over a connection that is open already."""

    def __init__(self, ae_title: str, connected: socket.socket) -> None:
        super().__init__(ae_title)
        self._connected = connected
        self.acse_timeout = ASSOCIATE_SECONDS
        self.dimse_timeout = RESPONSE_SECONDS
        self.network_timeout = RESPONSE_SECONDS
        self.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self.implementation_version_name = IMPLEMENTATION_VERSION_NAME

    def _create_socket(self, assoc: Association, *_: Any) -> AssociationSocket:
        bound_memory(assoc)
        return _OpenSocket(assoc, self._connected)


class _OpenSocket(AssociationSocket):
    def __init__(self, assoc: Association, connected: socket.socket) -> None:
        super().__init__(assoc, client_socket=connected)
        # The base class takes an open socket for a connection of a peer, and reports one.
        self.event_queue.get_nowait()
        # pynetdicom waits for a PDU as soon as bytes arrive, and sends nothing meanwhile. A TLS 1.3 peer sends session
        # tickets first, which hold no PDU, so nothing is read before our request is on its way.
        self._is_connected = False
        self._ready.clear()

    def connect(self, primitive: Any) -> None:
        self._is_connected = True
        self._ready.set()
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > _MAX_PDU_BYTES:
            raise ConnectionError("The peer sent a PDU that is too long.")
        return super().recv(nr_bytes)
