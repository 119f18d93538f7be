"""The DIMSE listener: C-ECHO and C-STORE for every tenant, told apart by the called AE title (PS3.7, PS3.8)."""

import logging
import queue
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from django.conf import settings
from django.db import DatabaseError
from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from apps.core.errors import OutOfSpaceError
from apps.dimse.contexts import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, supported_contexts
from apps.dimse.store import PROCESSING_FAILURE, SUCCESS, Arrival, find_tenant, store
from apps.studies.spool import require_space

logger = logging.getLogger(__name__)

MAX_ASSOCIATIONS: Final = 32
MAX_PDU_BYTES: Final = 256 * 1024
STORE_THREADS: Final = 4
REQUEST_SECONDS: Final = 10
IDLE_SECONDS: Final = 60
RECEIVE_SECONDS: Final = 8
FAREWELL_SECONDS: Final = 10
ABORT_SECONDS: Final = 2
FORGOTTEN_SECONDS: Final = 15 * 60
# No tenant can have this title (it has a dot), so an association is rejected where its check failed.
_NOBODY: Final = "NO.TENANT"
_AE_TITLE = re.compile(r"[A-Z0-9_\-]{1,16}")
_NOT_PRINTABLE = re.compile(r"[^ -~]")
# Result, source and diagnostic of A-ASSOCIATE-RJ (PS3.8 9.3.4).
_CALLED_AE_TITLE_NOT_RECOGNISED: Final = (0x01, 0x01, 0x07)
_CONGESTION: Final = (0x02, 0x03, 0x01)


class Listener:
    """A running listener. ``port`` is the one that it listens on."""

    def __init__(self, host: str, port: int, arrivals: Path) -> None:
        self._arrivals = arrivals
        # These threads hold the database's connections: few, and kept from one association to the next.
        self._threads = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="dimse-store")
        self._storing: set[Future[int]] = set()
        server = _application_entity().start_server((host, port), block=False, evt_handlers=self._handlers())
        self._server = cast("ThreadedAssociationServer", server)
        self.port: int = self._server.server_address[1]

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
        self._server.shutdown()
        deadline = time.monotonic() + FAREWELL_SECONDS
        while self._storing and time.monotonic() < deadline:
            time.sleep(0.02)
        for association in self._server.active_associations:
            _end(association)
        deadline = time.monotonic() + ABORT_SECONDS
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        self._threads.shutdown()

    def _on_open(self, event: evt.Event) -> None:
        """A peer that stops in the middle of a PDU must not hold its thread for ever."""
        association: Any = event.assoc
        association.dul.socket.socket.settimeout(RECEIVE_SECONDS)

    def _on_requested(self, event: evt.Event) -> None:
        """Vouch for the called AE title where a tenant has it."""
        association: Any = event.assoc
        called = association.requestor.primitive.called_ae_title.strip()
        try:
            require_space(0)
            known = bool(_AE_TITLE.fullmatch(called)) and self._threads.submit(find_tenant, called).result()
        except (DatabaseError, OutOfSpaceError) as error:
            logger.warning("An association was rejected for now: %s.", type(error).__name__)
            _reject(association, _CONGESTION)
            return
        if not known:
            _reject(association, _CALLED_AE_TITLE_NOT_RECOGNISED)
            return
        self._tidy()
        association.acceptor.ae_title = called

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
            called_ae_title=event.assoc.acceptor.ae_title,
            calling_ae_title=_NOT_PRINTABLE.sub("?", event.assoc.requestor.ae_title.strip()),
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


def _reject(association: Any, reason: tuple[int, int, int]) -> None:
    association.acse.send_reject(*reason)
    # Waits until the answer has left; pynetdicom would close the socket under it.
    association.kill()


def _discard(file: Any) -> None:
    file.close()
    Path(file.name).unlink(missing_ok=True)


def _application_entity() -> AE:
    entity = AE(ae_title=_NOBODY)
    entity.supported_contexts = supported_contexts()
    entity.require_called_aet = True
    entity.maximum_associations = MAX_ASSOCIATIONS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    entity.acse_timeout = REQUEST_SECONDS
    entity.dimse_timeout = IDLE_SECONDS
    entity.network_timeout = IDLE_SECONDS
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity


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
