"""C-MOVE and C-GET as SCP (PS3.4 C.4.2, C.4.3): C-STORE sub-operations, counted in each response.

pynetdicom's own service reads each object whole with pydicom. Here an object goes from its file in the transfer syntax
that the receiver accepted for it.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final

from django.db import DatabaseError, InterfaceError
from pydicom.uid import UID
from pynetdicom.dimse_primitives import C_GET, C_MOVE

from apps.core.errors import ChecxrayError
from apps.dimse.cancels import is_cancelled
from apps.dimse.query_retrieve.identifiers import failed_list
from apps.dimse.query_retrieve.retrieve import Retrieved, find_retrieved
from apps.dimse.requests import CANCELLED, OUT_OF_RESOURCES, PENDING, PROCESSING_FAILURE, SUCCESS, RefusedError
from apps.results.clients.association import PeerError
from apps.results.clients.peers import noting
from apps.results.clients.store_scu import (
    NO_RESPONSE,
    MoveOriginator,
    StoreOutcome,
    send_instance,
    send_instances,
)
from apps.routing.selectors import Caller

logger = logging.getLogger(__name__)
# PS3.4 tables C.4-2 and C.4-3.
WITH_FAILURES: Final = 0xB000
ALL_FAILED: Final = 0xA702
# A peer ends an association in which it hears nothing; so does our own acceptor after 60 s.
PENDING_SECONDS: Final = 15

InDatabase = Callable[[Callable[[], Any]], Any]
"""Runs a function in a thread that has a database connection."""


class Retrieval:
    """One C-MOVE or C-GET request in an association of pynetdicom."""

    def __init__(self, association: Any, request: Any, context: Any, in_database: InDatabase) -> None:
        self._association = association
        self._request = request
        self._context_id: int = context.context_id
        self._syntax: UID = context.transfer_syntax[0]
        self._in_database = in_database
        self._caller: Caller = association.caller
        self._remaining = self._completed = self._warnings = 0
        self._failed: list[str] = []

    def run(self) -> None:
        """Carry the request out, and send all its responses. Never raises."""
        try:
            retrieved = self._find()
        except RefusedError as error:
            self._respond(error.status, comment=error.comment)
            return
        self._remaining = len(retrieved.instances)
        outcomes = self._stored(retrieved) if isinstance(self._request, C_GET) else self._moved(retrieved)
        for outcome in outcomes:
            self._count(outcome)
            if self._remaining and not self._is_over:
                self._respond(PENDING)
        if not self._is_lost:
            self._respond(CANCELLED if self._remaining else self._final_status)

    def _find(self) -> Retrieved:
        move_to = self._request.MoveDestination if isinstance(self._request, C_MOVE) else None
        find = partial(
            find_retrieved,
            self._caller,
            self._request.Identifier,
            self._syntax,
            str(self._request.AffectedSOPClassUID),
            is_relational=self._request.AffectedSOPClassUID in self._association.relational,
            move_to=None if move_to is None else str(move_to).strip(),
        )
        try:
            found: Retrieved = self._in_database(find)
        except RefusedError:
            raise
        except (DatabaseError, InterfaceError, ChecxrayError) as error:
            logger.warning("A retrieval was refused for now: %s.", type(error).__name__)
            raise RefusedError(OUT_OF_RESOURCES, "Try again later.") from error
        except Exception as error:
            # The message may contain patient data.
            logger.error("A retrieval failed: %s.", type(error).__name__)
            raise RefusedError(PROCESSING_FAILURE, "The retrieval failed.") from error
        return found

    @property
    def _is_lost(self) -> bool:
        """Whether there is no one to answer to any more."""
        association = self._association
        return not association.is_established or association.acse.is_aborted() or not association.dul.is_alive()

    @property
    def _is_over(self) -> bool:
        return self._is_lost or is_cancelled(self._association, self._request)

    def _stored(self, retrieved: Retrieved) -> Iterator[StoreOutcome]:
        """Sub-operations in the association of the request."""
        for number, instance in enumerate(retrieved.instances, 1):
            if self._is_over:
                return
            message_id = (self._request.MessageID + number) % 0x10000
            yield send_instance(self._association, instance, message_id=message_id)

    def _moved(self, retrieved: Retrieved) -> Iterator[StoreOutcome]:
        """Sub-operations in an association with the destination; Pending responses keep that of the request alive."""
        assert retrieved.destination is not None
        assert retrieved.destination_id is not None
        originator = MoveOriginator(self._caller.calling, self._request.MessageID)
        outcomes = send_instances(retrieved.destination, retrieved.instances, originator=originator)
        left = list(reversed(retrieved.instances))
        with ThreadPoolExecutor(1, thread_name_prefix="dimse-move") as sender:
            try:
                while left and not self._is_over:
                    following = sender.submit(next, outcomes, None)
                    while not wait([following], PENDING_SECONDS).done:
                        self._respond(PENDING)
                    outcome = following.result()
                    if outcome is None:
                        break
                    left.pop()
                    yield outcome
                self._note(retrieved, None)
            except PeerError as error:
                self._note(retrieved, error)
                yield from (StoreOutcome(each, NO_RESPONSE, error.detail) for each in reversed(left))
            finally:
                sender.submit(outcomes.close).result()

    def _note(self, retrieved: Retrieved, problem: PeerError | None) -> None:
        """Record on the page of peers whether the destination was reached."""
        assert retrieved.destination_id is not None
        destination_id, tenant_id = retrieved.destination_id, retrieved.requester.tenant.pk

        def note() -> None:
            with noting(destination_id, tenant_id):
                if problem is not None:
                    raise problem

        try:
            self._in_database(note)
        except PeerError:
            pass
        except (DatabaseError, InterfaceError) as error:
            logger.warning("It could not be recorded how a peer was reached: %s.", type(error).__name__)

    def _count(self, outcome: StoreOutcome) -> None:
        self._remaining -= 1
        if not outcome.is_stored:
            self._failed.append(outcome.instance.sop_instance_uid)
        elif outcome.is_warning:
            self._warnings += 1
        else:
            self._completed += 1

    @property
    def _final_status(self) -> int:
        if self._failed and not self._completed and not self._warnings:
            return ALL_FAILED
        return WITH_FAILURES if self._failed or self._warnings else SUCCESS

    def _respond(self, status: int, *, comment: str | None = None) -> None:
        response: Any = type(self._request)()
        response.MessageID = response.MessageIDBeingRespondedTo = self._request.MessageID
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = status
        if comment is not None:
            response.ErrorComment = comment
        else:
            response.NumberOfFailedSuboperations = len(self._failed)
            response.NumberOfWarningSuboperations = self._warnings
            response.NumberOfCompletedSuboperations = self._completed
            if status in (PENDING, CANCELLED):
                response.NumberOfRemainingSuboperations = self._remaining
            if status not in (PENDING, SUCCESS):
                response.Identifier = failed_list(self._failed, self._syntax)
        self._association.dimse.send_msg(response, self._context_id)


def retrieve(association: Any, request: Any, context: Any, in_database: InDatabase) -> None:
    """Serve a C-MOVE or C-GET request. Never raises: one request must not end the listener's thread."""
    try:
        Retrieval(association, request, context, in_database).run()
    except Exception as error:
        # The peer is gone, or a response could not be sent. The message may contain patient data.
        logger.error("A retrieval ended early: %s.", type(error).__name__)
        association.abort()
