"""The DIMSE listener: the services for listed peers; the called AE title names the tenant (PS3.7, PS3.8)."""

import logging
import queue
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from django.conf import settings
from django.db import close_old_connections
from pydicom import config as pydicom_config
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_GET, C_MOVE, N_EVENT_REPORT
from pynetdicom.transport import ThreadedAssociationServer

from apps.core.errors import OutOfSpaceError
from apps.core.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from apps.dimse.acceptor import Acceptor, AssociationLimits, Port, listen
from apps.dimse.callers import CallerLog
from apps.dimse.cancels import is_cancelled, note_message
from apps.dimse.commitment import take_peer_report, take_request
from apps.dimse.connection import IDLE_SECONDS, MAX_PDU_BYTES
from apps.dimse.contexts import QUERY_RETRIEVE_CLASSES, supported_contexts
from apps.dimse.query_retrieve.find import FindRequest, find
from apps.dimse.query_retrieve.sub_operations import retrieve
from apps.dimse.requests import PROCESSING_FAILURE, SUCCESS
from apps.dimse.store import Arrival, store_arrival
from apps.dimse.tls import server_context
from apps.results.clients.association import bound_memory
from apps.results.clients.commitment_scu import serve_event_report
from apps.routing.selectors import Caller, PeerAdmission, admit_caller
from apps.studies.spool import require_space

logger = logging.getLogger(__name__)

DATABASE_THREADS: Final = 4
REQUEST_SECONDS: Final = 10
POLL_SECONDS: Final = 0.005
SHUTDOWN_SECONDS: Final = 10
ABORT_SECONDS: Final = 2
ABANDONED_SECONDS: Final = 15 * 60
# No tenant can have this title (it has a dot). Each association gets the title that its peer called.
_NO_TENANT: Final = "NO.TENANT"
# An identifier, or the references of a storage commitment; a data set that is stored has a limit of its own.
_MOST_BYTES_OF_A_MESSAGE: Final = 4 * 1024 * 1024
# pynetdicom serves each N-EVENT-REPORT in a thread of its own. A peer has to wait for the response to each.
_MOST_REPORTS_AT_ONCE: Final = 4


class _Server(ThreadedAssociationServer):
    """pynetdicom's server without a port: it gets the associations that the acceptor has accepted."""

    def server_bind(self) -> None:
        pass

    def server_activate(self) -> None:
        pass


class Listener:
    """A running listener on ``port`` and ``tls_port``; 0 where it does not listen."""

    def __init__(self, host: str, port: int, arrivals: Path) -> None:
        self._arrivals = arrivals
        ports = _ports(host, port)
        self.port, self.tls_port = (_number(ports, is_tls=is_tls) for is_tls in (False, True))
        # Few threads, because each keeps a database connection from one association to the next.
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="dimse-database")
        self._storing: set[Future[Any]] = set()
        self._callers: dict[int, Caller] = {}
        server = _application_entity().make_server(
            ("127.0.0.1", 0), evt_handlers=self._handlers(), server_class=_Server
        )
        self._server = cast("_Server", server)
        self._log = CallerLog()
        self._acceptor = Acceptor(
            ports,
            AssociationLimits(
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
            (evt.EVT_DIMSE_RECV, note_message),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_N_ACTION, self._on_action),
            (evt.EVT_N_EVENT_REPORT, self._on_event_report),
            (evt.EVT_SOP_EXTENDED, self._on_extended),
            (evt.EVT_CONN_CLOSE, self._on_close),
        ]

    def close(self) -> None:
        """Accept no more associations, wait a bounded time for running stores, then end the open associations."""
        self._acceptor.stop_accepting()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
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
        """Look a caller up; raises OutOfSpaceError and DatabaseError, after which the caller may try again."""
        require_space(0)
        close_old_connections()
        return admit_caller(caller)

    def _hand_over(self, connection: socket.socket, caller: Caller, port: int) -> None:
        self._callers[connection.fileno()] = caller
        self._server.process_request(connection, (str(caller.address), port))

    def _on_open(self, event: evt.Event) -> None:
        """Keep the caller with the association. The acceptor passes on whole PDUs, and bounds a peer's time."""
        association: Any = event.assoc
        connection = association.dul.socket.socket
        connection.settimeout(IDLE_SECONDS + REQUEST_SECONDS)
        bound_memory(association)
        association.relational = frozenset()
        association.reporting, association.cancelled = set(), set()
        association._serve_request = partial(self._serve, association, association._serve_request)
        # How long pynetdicom sleeps without data; its default of 1 ms costs 4 % of a core for each association.
        association.dul._run_loop_delay = POLL_SECONDS
        association.caller = self._callers.pop(connection.fileno())

    def _on_requested(self, event: evt.Event) -> None:
        """Answer with the called AE title: the acceptor has found its tenant and the peer."""
        association: Any = event.assoc
        self._tidy()
        association.acceptor.ae_title = association.caller.called

    def _on_pdu(self, event: evt.Event) -> None:
        """Abort an association whose data set exceeds the limit, or for which the disk is too full.

        Also one whose peer sends many reports at once, without waiting for the responses.
        """
        if len(cast("Any", event.assoc).reporting) > _MOST_REPORTS_AT_ONCE:
            event.assoc.abort()
            return
        message: Any = event.assoc.dimse.message
        if message is None:
            return
        file = message._data_set_file
        if file is None:
            if message.data_set is not None and message.data_set.tell() > _MOST_BYTES_OF_A_MESSAGE:
                event.assoc.abort()
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
        return self._in_database(partial(store_arrival, arrival))

    def _in_database(self, work: Callable[[], Any]) -> Any:
        """Run work in one of the few threads that keep a database connection."""
        stored = self._threads.submit(_with_connection, work)
        self._storing.add(stored)
        try:
            return stored.result()
        finally:
            self._storing.discard(stored)

    def _on_find(self, event: evt.Event) -> Any:
        association: Any = event.assoc
        request: Any = event.request
        return find(
            FindRequest(
                caller=association.caller,
                sop_class_uid=str(request.AffectedSOPClassUID),
                identifier=request.Identifier,
                syntax=event.context.transfer_syntax,
                is_relational=request.AffectedSOPClassUID in association.relational,
                in_database=self._in_database,
                is_cancelled=partial(is_cancelled, association, request),
            )
        )

    def _on_action(self, event: evt.Event) -> tuple[Any, None]:
        caller = cast("Any", event.assoc).caller
        take = partial(take_request, caller, event.request, event.context.transfer_syntax)
        return self._in_database(take), None

    def _on_event_report(self, event: evt.Event) -> tuple[Any, None]:
        caller = cast("Any", event.assoc).caller
        take = partial(take_peer_report, caller, event.request, event.context.transfer_syntax)
        reporting: set[Any] = cast("Any", event.assoc).reporting
        reporting.add(event)
        try:
            return self._in_database(take), None
        finally:
            reporting.discard(event)

    def _on_extended(self, event: evt.Event) -> dict[Any, bytes]:
        """Accept relational queries and retrieval (PS3.4 C.5.1.1, C.5.2.1), and no other extension."""
        proposed: dict[Any, bytes] = cast("Any", event).app_info
        relational = [uid for uid, info in proposed.items() if uid in QUERY_RETRIEVE_CLASSES and info[:1] == b"\1"]
        cast("Any", event.assoc).relational = frozenset(relational)
        return dict.fromkeys(relational, b"\1")

    def _serve(self, association: Any, standard: Callable[[Any, int], None], request: Any, context_id: int) -> None:
        """Serve C-MOVE, C-GET and N-EVENT-REPORT ourselves, and everything else by pynetdicom."""
        if isinstance(request, N_EVENT_REPORT):
            serve_event_report(association, request, context_id)
            return
        context = association._accepted_cx.get(context_id)
        is_ours = isinstance(request, C_MOVE | C_GET) and request.is_valid_request
        if not is_ours or context is None or context.abstract_syntax != request.AffectedSOPClassUID:
            standard(request, context_id)
            return
        # As pynetdicom's own services: the thread of the association sends sub-operations itself.
        association._is_paused = True
        retrieve(association, request, context, self._in_database)
        association._is_paused = False

    def _on_close(self, event: evt.Event) -> None:
        """Remove received files of requests that will not be answered."""
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
        """Create the folder where it is missing, and remove old files of associations that ended without a close."""
        self._arrivals.mkdir(mode=0o700, exist_ok=True)
        oldest = time.time() - ABANDONED_SECONDS
        for path in self._arrivals.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _with_connection(work: Callable[[], Any]) -> Any:
    close_old_connections()
    return work()


def _end(association: Any) -> None:
    if association.is_established:
        association.abort(block=False)
        return
    # Otherwise pynetdicom would wait for the rest of a request until its timeout.
    with suppress(OSError, AttributeError):
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def _discard(file: Any) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)


def _application_entity() -> AE:
    entity = AE(ae_title=_NO_TENANT)
    for context in supported_contexts():
        entity.add_supported_context(
            str(context.abstract_syntax), context.transfer_syntax, scu_role=context.scu_role, scp_role=context.scp_role
        )
    entity.require_called_aet = True
    # The acceptor limits the number; this also counts associations whose peer is gone while their store still runs.
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
    """A listener for as long as the block runs; one per process, because pynetdicom's settings are global.

    Raises:
        OSError: the address cannot be listened on.
    """
    with tempfile.TemporaryDirectory(dir=settings.SPOOL_DIR, ignore_cleanup_errors=True) as arrivals:
        _config.STORE_RECV_CHUNKED_DATASET = True
        # Warnings about identifiers would repeat their values.
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        tempfile.tempdir = arrivals
        listener = Listener(host, port, Path(arrivals))
        try:
            yield listener
        finally:
            listener.close()
            tempfile.tempdir = None
