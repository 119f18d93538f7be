"""Accepts connections on the DIMSE ports and passes those of listed peers to pynetdicom (PS3.8 7.1)."""

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import DatabaseError

from apps.core.errors import OutOfSpaceError
from apps.core.metrics import ASSOCIATIONS
from apps.dimse.connection import REQUEST_SECONDS, Connection, ScpSide, State
from apps.dimse.pdu import (
    CONGESTION,
    LOCAL_LIMIT,
    REFUSED,
    VERSION_NOT_SUPPORTED,
    AssociateRequest,
    associate_rj,
)
from apps.routing.models import Refusal
from apps.routing.peer_fields import fingerprint_of, plain_address, subject_of
from apps.routing.selectors import Caller, PeerAdmission

logger = logging.getLogger(__name__)

# The largest number of connections without an association. Beyond it, the oldest connection of the address with the
# most is closed, so that a peer that sends its request at once is served. select() supports descriptors below 1024.
MAX_WAITING: Final = 384
MAX_WAITING_PER_ADDRESS: Final = 256
# asyncio gives each TLS connection a buffer of 256 KB.
MAX_WAITING_TLS: Final = 64
MAX_WAITING_TLS_PER_ADDRESS: Final = 48
MAX_DECIDING: Final = 128
DECIDING_THREADS: Final = 2
DECIDING_SECONDS: Final = 5
# A refusal is sent this long after its request, so that its time does not reveal the reason.
REFUSAL_SECONDS: Final = 0.1
TLS_SHUTDOWN_SECONDS: Final = 2
_WATCH_SECONDS: Final = 0.25
_BACKLOG: Final = 512
_NO_DESCRIPTOR_SECONDS: Final = 0.1


@dataclass(frozen=True)
class AssociationLimits:
    """The largest numbers of concurrent associations."""

    total: int
    per_tenant: int
    per_peer: int


@dataclass
class Port:
    """One listening socket and its connections without an association, oldest first."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    waiting: dict[Connection, None] = field(default_factory=dict)

    @property
    def limits(self) -> tuple[int, int]:
        """Connections without an association: of all addresses, of one."""
        if self.tls is not None:
            return MAX_WAITING_TLS, MAX_WAITING_TLS_PER_ADDRESS
        return MAX_WAITING, MAX_WAITING_PER_ADDRESS


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket. ``::`` listens on IPv4 as well, where the system can.

    Raises:
        OSError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    listening.setblocking(False)
    return listening


class Acceptor:
    """An asyncio server in a thread of its own.

    Args:
        admit: looks a caller up; called in one of the threads for decisions.
        hand_over: gives pynetdicom the socket of an association, the caller and the peer's port; must not block.
        on_accepted, on_refused: record the decision about a caller; must not block.
    """

    def __init__(
        self,
        ports: list[Port],
        limits: AssociationLimits,
        *,
        admit: Callable[[Caller], PeerAdmission],
        hand_over: Callable[[socket.socket, Caller, int], None],
        on_accepted: Callable[[PeerAdmission], None],
        on_refused: Callable[[PeerAdmission, Caller], None],
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._admit = admit
        self._hand_over = hand_over
        self._on_accepted = on_accepted
        self._on_refused = on_refused
        self._port_of: dict[Connection, Port] = {}
        self._associated: dict[Connection, tuple[UUID, UUID]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._deciding = 0
        self._threads = ThreadPoolExecutor(DECIDING_THREADS, thread_name_prefix="dimse-admit")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dimse-acceptor")

    def start(self) -> None:
        self._thread.start()

    def stop_accepting(self) -> None:
        """Accept no more connections, and close those that have no association yet."""
        asyncio.run_coroutine_threadsafe(self._stop_accepting(), self._loop).result()

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._threads.shutdown()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        for port in self._ports:
            self._start(self._accept(port))
        self._start(self._watch())
        self._loop.run_forever()
        for connection in list(self._port_of):
            connection.drop()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, port: Port) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(port.socket)
            except OSError as error:
                if port.socket.fileno() < 0:
                    return
                logger.warning("A connection could not be accepted: %s.", type(error).__name__)
                await asyncio.sleep(_NO_DESCRIPTOR_SECONDS)
                continue
            connection = Connection(self, accepted, plain_address(address[0]), address[1], self._loop.time)
            self._port_of[connection] = port
            self._wait(connection)
            self._start(self._open(connection, accepted, port.tls))

    async def _open(self, connection: Connection, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        times: dict[str, float] = {}
        if tls is not None:
            times = {"ssl_handshake_timeout": REQUEST_SECONDS, "ssl_shutdown_timeout": TLS_SHUTDOWN_SECONDS}
        with suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, **times)
        except OSError:
            # The handshake failed, or took too long.
            accepted.close()
            connection.drop()
        if connection.state is State.CLOSED:
            connection.drop()

    def _wait(self, connection: Connection) -> None:
        """Add a connection to those without an association, and drop another one where there are too many."""
        port = self._port_of[connection]
        total, per_address = port.limits
        same = [each for each in port.waiting if each.address == connection.address]
        if len(same) >= per_address:
            same[0].drop()
        elif len(port.waiting) >= total:
            ((busiest, _),) = Counter(each.address for each in port.waiting).most_common(1)
            next(each for each in port.waiting if each.address == busiest).drop()
        port.waiting[connection] = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now = self._loop.time()
            for connection in list(self._port_of):
                connection.check(now)

    def on_request(self, connection: Connection, request: AssociateRequest) -> None:
        if self._deciding >= MAX_DECIDING:
            connection.finish(associate_rj(CONGESTION))
            return
        self._start(self._decide(connection, request))

    async def _decide(self, connection: Connection, request: AssociateRequest) -> None:
        began = self._loop.time()
        certificate, read = connection.client_certificate()
        caller = Caller(
            called=request.called,
            calling=request.calling,
            address=connection.address,
            fingerprint=fingerprint_of(certificate) if certificate else "",
            subject=subject_of(read) if certificate else "",
        )
        self._deciding += 1
        try:
            looked_up = self._loop.run_in_executor(self._threads, self._admit, caller)
            admission = await asyncio.wait_for(looked_up, DECIDING_SECONDS)
        except Exception as error:
            expected = isinstance(error, DatabaseError | OutOfSpaceError | TimeoutError)
            level = logging.WARNING if expected else logging.ERROR
            logger.log(level, "An association was rejected for now: %s.", type(error).__name__)
            connection.finish(associate_rj(CONGESTION))
            return
        finally:
            self._deciding -= 1
        if admission.peer_id is None:
            self._note_refused(admission, caller)
            await asyncio.sleep(began + REFUSAL_SECONDS - self._loop.time())
            connection.finish(associate_rj(REFUSED))
        elif not request.has_version_1:
            connection.finish(associate_rj(VERSION_NOT_SUPPORTED))
        elif self._is_full(admission):
            self._note_refused(PeerAdmission(admission.tenant, reason=Refusal.Reason.TOO_MANY), caller)
            connection.finish(associate_rj(LOCAL_LIMIT))
        elif connection.state is State.DECIDING:
            await self._join(connection, request, caller, admission)

    def _note_refused(self, admission: PeerAdmission, caller: Caller) -> None:
        ASSOCIATIONS.labels("refused").inc()
        self._on_refused(admission, caller)

    def _is_full(self, admission: PeerAdmission) -> bool:
        assert admission.tenant is not None
        assert admission.peer_id is not None
        tenants = [tenant_id for tenant_id, _ in self._associated.values()]
        peers = [peer_id for _, peer_id in self._associated.values()]
        return (
            len(tenants) >= self._limits.total
            or tenants.count(admission.tenant.id) >= self._limits.per_tenant
            or peers.count(admission.peer_id) >= self._limits.per_peer
        )

    async def _join(
        self, connection: Connection, request: AssociateRequest, caller: Caller, admission: PeerAdmission
    ) -> None:
        """Pass the association to pynetdicom, beginning with the A-ASSOCIATE-RQ."""
        assert admission.tenant is not None
        assert admission.peer_id is not None
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            connection.finish(associate_rj(CONGESTION))
            return
        self._port_of[connection].waiting.pop(connection, None)
        self._associated[connection] = (admission.tenant.id, admission.peer_id)
        scp = ScpSide(connection, on_closed=lambda: self._forget_association(connection))
        ours.setblocking(False)
        await self._loop.create_connection(lambda: scp, sock=ours)
        connection.serve(scp)
        scp.write(request.pdu)
        ASSOCIATIONS.labels("accepted").inc()
        self._on_accepted(admission)
        self._hand_over(theirs, caller, connection.port)

    def _forget_association(self, connection: Connection) -> None:
        self._associated.pop(connection, None)

    def on_closing(self, connection: Connection) -> None:
        port = self._port_of.get(connection)
        if port is not None and connection not in port.waiting:
            self._wait(connection)

    def on_closed(self, connection: Connection) -> None:
        port = self._port_of.pop(connection, None)
        if port is not None:
            port.waiting.pop(connection, None)

    async def _stop_accepting(self) -> None:
        for port in self._ports:
            self._loop.remove_reader(port.socket)
            port.socket.close()
            for connection in list(port.waiting):
                connection.drop()
