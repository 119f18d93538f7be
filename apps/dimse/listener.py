"""The DIMSE listener: C-ECHO and C-STORE of the peers that a tenant lists, by called AE title (PS3.7, PS3.8)."""

import logging
import queue
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from django.conf import settings
from django.db import close_old_connections
from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from apps.core.errors import OutOfSpaceError
from apps.dimse.acceptor import Acceptor, Limits, Port, listen
from apps.dimse.callers import CallerLog
from apps.dimse.connection import IDLE_SECONDS, MAX_PDU_BYTES
from apps.dimse.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, supported_contexts
from apps.dimse.store import PROCESSING_FAILURE, SUCCESS, Arrival, store
from apps.dimse.tls import server_context
from apps.routing.selectors import Caller, PeerAdmission, admit_caller
from apps.studies.spool import require_space

logger = logging.getLogger(__name__)

STORE_THREADS: Final = 4
REQUEST_SECONDS: Final = 10
RECEIVE_SECONDS: Final = 8
POLL_SECONDS: Final = 0.005
FAREWELL_SECONDS: Final = 10
ABORT_SECONDS: Final = 2
FORGOTTEN_SECONDS: Final = 15 * 60
# No tenant can have this title (it has a dot). Each association gets the title that its peer called.
_NO_TENANT: Final = "NO.TENANT"


class _Server(ThreadedAssociationServer):
    """pynetdicom's server without a port: it is given the associations that the acceptor has let in."""

    def server_bind(self) -> None:
        pass

    def server_activate(self) -> None:
        pass


class Listener:
    """A running listener. ``port`` and ``tls_port`` are what it listens on; 0 where it does not."""

    def __init__(self, host: str, port: int, arrivals: Path) -> None:
        self._arrivals = arrivals
        ports = _ports(host, port)
        self.port, self.tls_port = (_number(ports, is_tls=is_tls) for is_tls in (False, True))
        # These threads hold the database's connections: few, and kept from one association to the next.
        self._threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="dimse-store")
        self._storing: set[Future[int]] = set()
        self._callers: dict[int, Caller] = {}
        server = _application_entity().make_server(
            ("127.0.0.1", 0), evt_handlers=self._handlers(), server_class=_Server
        )
        self._server = cast("_Server", server)
        self._log = CallerLog()
        self._acceptor = Acceptor(
            ports,
            Limits(
                total=settings.DIMSE_ASSOCIATIONS,
                per_tenant=settings.DIMSE_ASSOCIATIONS_PER_TENANT,
                per_peer=settings.DIMSE_ASSOCIATIONS_PER_PEER,
            ),
            admit=self._admit,
            hand_over=self._hand_over,
            on_accepted=self._log.accepted,
            on_refused=self._log.refused,
        )
        self._acceptor.start()

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_PDU_RECV, self._on_pdu),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_CONN_CLOSE, self._on_close),
        ]

    def close(self) -> None:
        """Take no more associations, let the stores under way be answered within a bound, then end what is open."""
        self._acceptor.stop_accepting()
        deadline = time.monotonic() + FAREWELL_SECONDS
        while self._storing and time.monotonic() < deadline:
            time.sleep(0.02)
        for association in self._server.active_associations:
            _end(association)
        deadline = time.monotonic() + ABORT_SECONDS
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        self._acceptor.close()
        self._server.server_close()
        self._log.close()
        self._threads.shutdown()

    def _admit(self, caller: Caller) -> PeerAdmission:
        """Raises OutOfSpaceError and Django's DatabaseError, which are no answer yet."""
        require_space(0)
        close_old_connections()
        return admit_caller(caller)

    def _hand_over(self, connection: socket.socket, caller: Caller, port: int) -> None:
        self._callers[connection.fileno()] = caller
        self._server.process_request(connection, (str(caller.address), port))

    def _on_open(self, event: evt.Event) -> None:
        """Remember who calls; the acceptor passes on whole PDUs, so none is waited for."""
        association: Any = event.assoc
        connection = association.dul.socket.socket
        connection.settimeout(RECEIVE_SECONDS)
        # How long pynetdicom sleeps while nothing comes; its own millisecond costs 4 % of a core for each association.
        association.dul._run_loop_delay = POLL_SECONDS
        association.caller = self._callers.pop(connection.fileno())

    def _on_requested(self, event: evt.Event) -> None:
        """Answer by the title that was called: the acceptor has found its tenant, and the peer on its list."""
        association: Any = event.assoc
        self._tidy()
        association.acceptor.ae_title = association.caller.called

    def _on_pdu(self, event: evt.Event) -> None:
        """End an association whose data set outgrows the limit or the disk."""
        message: Any = event.assoc.dimse.message
        file = message._data_set_file if message is not None else None
        if file is None:
            return
        try:
            require_space(0)
        except OutOfSpaceError:
            event.assoc.abort()
            return
        if file.tell() > settings.MAX_INSTANCE_BYTES:
            event.assoc.abort()

    def _on_echo(self, event: evt.Event) -> int:
        return SUCCESS

    def _on_store(self, event: evt.Event) -> int:
        request: Any = event.request
        if request._dataset_path is None:
            return PROCESSING_FAILURE
        arrival = Arrival(
            path=Path(request._dataset_path),
            caller=cast("Any", event.assoc).caller,
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        stored = self._threads.submit(store, arrival)
        self._storing.add(stored)
        try:
            return stored.result()
        finally:
            self._storing.discard(stored)

    def _on_close(self, event: evt.Event) -> None:
        """Remove what was received and will not be answered."""
        dimse: Any = event.assoc.dimse
        if dimse.message is not None and dimse.message._data_set_file is not None:
            _discard(dimse.message._data_set_file)
        while True:
            try:
                _, primitive = dimse.msg_queue.get_nowait()
            except queue.Empty:
                return
            if getattr(primitive, "_dataset_file", None) is not None:
                _discard(primitive._dataset_file)

    def _tidy(self) -> None:
        """Keep the folder there, and free of what an association left that ended without a close."""
        self._arrivals.mkdir(mode=0o700, exist_ok=True)
        oldest = time.time() - FORGOTTEN_SECONDS
        for path in self._arrivals.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _end(association: Any) -> None:
    if association.is_established:
        association.abort(block=False)
        return
    # A peer that has not finished its request would be read from until its time is up.
    with suppress(OSError, AttributeError):
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def _discard(file: Any) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)


def _application_entity() -> AE:
    entity = AE(ae_title=_NO_TENANT)
    entity.supported_contexts = supported_contexts()
    entity.require_called_aet = True
    # The acceptor keeps the number; this counts associations as well whose peer is gone and whose store is under way.
    entity.maximum_associations = settings.DIMSE_ASSOCIATIONS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.acse_timeout = REQUEST_SECONDS
    entity.dimse_timeout = IDLE_SECONDS
    entity.network_timeout = IDLE_SECONDS
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity


def _ports(host: str, port: int) -> list[Port]:
    tls = server_context()
    ports = [] if tls is not None and settings.DIMSE_TLS_ONLY else [Port(listen(host, port))]
    if tls is not None:
        ports.append(Port(listen(host, settings.DIMSE_TLS_PORT), tls))
    return ports


def _number(ports: list[Port], *, is_tls: bool) -> int:
    return next((each.socket.getsockname()[1] for each in ports if (each.tls is not None) is is_tls), 0)


@contextmanager
def running_listener(host: str, port: int) -> Iterator[Listener]:
    """A listener for as long as the block runs. One per process: pynetdicom's ways of receiving are global.

    Raises:
        OSError: the address cannot be listened on.
    """
    with tempfile.TemporaryDirectory(dir=settings.SPOOL_DIR, ignore_cleanup_errors=True) as arrivals:
        _config.STORE_RECV_CHUNKED_DATASET = True
        # Its default handlers format every PDU for a log that nobody keeps.
        _config.LOG_HANDLER_LEVEL = "none"
        tempfile.tempdir = arrivals
        listener = Listener(host, port, Path(arrivals))
        try:
            yield listener
        finally:
            listener.close()
            tempfile.tempdir = None
