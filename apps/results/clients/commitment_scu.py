"""Storage Commitment as SCU (PS3.4 annex J): the N-ACTION, and a report on the same association."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import uid_to_service_class

from apps.results.clients.association import RESPONSE_SECONDS, PeerError, RemoteNode, associated
from apps.routing.models import PeerProblem

STORAGE_COMMITMENT: Final = uid.UID("1.2.840.10008.1.20.1")
# The well-known SOP instance (PS3.4 J.3.5), and the type of its action.
WELL_KNOWN_INSTANCE: Final = uid.UID("1.2.840.10008.1.20.1.1")
REQUEST: Final = 1
# Most peers report on an association of their own; some at once on this one.
SAME_ASSOCIATION_SECONDS: Final = 3.0
_SYNTAXES: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)

TakeReport = Callable[[Any, uid.UID], Dataset]
"""Records an N-EVENT-REPORT request in a transfer syntax, and returns the status of its response."""


def request_of(transaction_uid: str, references: Sequence[tuple[str, str]]) -> Dataset:
    """The action information: SOP class and SOP instance of each reference (PS3.4 table J.3-1)."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def serve_event_report(association: Any, request: Any, context_id: int) -> None:
    """Serve an N-EVENT-REPORT without pausing the association's thread; end the association for any other request.

    pynetdicom serves each in a thread of its own, and ends with "not paused". Where the association's thread sends
    requests meanwhile, as for a C-GET or a release, it would wait for ever.
    """
    context = association._accepted_cx.get(context_id)
    if not isinstance(request, N_EVENT_REPORT) or context is None:
        association.abort()
        return
    uid_to_service_class(context.abstract_syntax)(association).SCP(request, context)


def ask(node: RemoteNode, transaction_uid: str, references: Sequence[tuple[str, str]], take_report: TakeReport) -> int:
    """Ask a peer to commit itself to keep instances; return the status of the N-ACTION response.

    Args:
        take_report: is called in another thread, for a report that comes on this association.

    Raises:
        PeerError: it could not be reached, or did not answer.
    """
    received, reported = threading.Event(), threading.Event()

    def receive(event: evt.Event) -> tuple[Dataset, None]:
        received.set()
        return take_report(event.request, uid.UID(event.context.transfer_syntax)), None

    def note_sent(event: evt.Event) -> None:
        # An association that is released before the response is sent would make the peer report again.
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            reported.set()

    context = build_context(STORAGE_COMMITMENT, [str(each) for each in _SYNTAXES])
    with associated(
        node, [context], handlers=[(evt.EVT_N_EVENT_REPORT, receive), (evt.EVT_DIMSE_SENT, note_sent)]
    ) as association:
        association._serve_request = partial(serve_event_report, association)  # type: ignore[method-assign]
        answer: Any
        answer, _ = association.send_n_action(
            request_of(transaction_uid, references), REQUEST, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
        )
        status = getattr(answer, "Status", None)
        if status is None:
            raise PeerError(PeerProblem.ABORTED)
        if status == 0x0000:
            reported.wait(SAME_ASSOCIATION_SECONDS)
            if received.is_set():
                # A response that is sent while the release is under way ends pynetdicom's thread.
                reported.wait(RESPONSE_SECONDS)
    return int(status)
