"""Asks destinations for storage commitment, and takes their reports. The jobs worker and the DIMSE listener run it."""

import logging
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final, cast
from uuid import UUID

from django.db import connections
from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode

from apps.events.commitments import (
    ASKING,
    MOST_TOGETHER,
    await_report,
    begin_transaction,
    postpone_requests,
    record_report,
)
from apps.events.models import CommitmentRequest
from apps.results.clients.association import PeerError, RemoteNode
from apps.results.clients.commitment_scu import WELL_KNOWN_INSTANCE, ask
from apps.results.clients.peers import node_of, noting
from apps.routing.models import Destination, Peer
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
# Statuses of the N-EVENT-REPORT response (PS3.7 annex C).
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT: Final = 0x0115
# A report without a Failure Reason for an instance.
_NO_REASON: Final = PROCESSING_FAILURE


def ask_destination(job: CommitmentRequest) -> None:
    """Ask the destination of a claimed request, with all others that are due there; none of them ends here."""
    tenant_id = cast(UUID, job.tenant_id)
    others = ASKING.due().filter(destination=job.destination_id)
    claimed = [job, *ASKING.claim(worker=job.worker, limit=MOST_TOGETHER - 1, due=others)]
    with tenant_tx(tenant_id):
        transaction_uid, rows = begin_transaction(claimed)
        peer = Destination.objects.select_related("peer").get(pk=job.destination_id).peer
        tenant = Tenant.objects.get(pk=tenant_id)
        node = node_of(peer, tenant) if peer is not None and peer.can_be_called else None
    if not rows:
        return
    failure = "The peer has no host and port: enter them under DICOM peers."
    try:
        if peer is not None and node is not None:
            failure = _ask(peer, node, tenant_id, transaction_uid, rows)
        if not failure:
            with tenant_tx(tenant_id):
                await_report(rows)
            return
    except Exception as error:
        # Its message may contain patient data.
        failure = f"The request failed here: {type(error).__name__}."
        logger.error("A destination could not be asked for storage commitment: %s.", type(error).__name__)
    for each in rows:
        ASKING.fail(job=each, reason=failure)
    with tenant_tx(tenant_id):
        postpone_requests(job.destination_id)


def _ask(peer: Peer, node: RemoteNode, tenant_id: UUID, transaction_uid: str, rows: list[CommitmentRequest]) -> str:
    """Send the request; return why it was not taken."""
    references = [(each.sop_class_uid, each.sop_instance_uid) for each in rows]
    try:
        with noting(peer.pk, tenant_id):
            status = ask(node, transaction_uid, references, partial(_take_here, tenant_id, peer.ae_title))
    except PeerError as error:
        return error.detail
    return "" if status == SUCCESS else f"The peer did not take the request: status 0x{status:04X}."


def _take_here(tenant_id: UUID, ae_title: str, request: Any, syntax: uid.UID) -> Dataset:
    """As `take_report`, in the thread of an association, which keeps no database connection."""
    try:
        return take_report(tenant_id, ae_title, request, syntax)
    finally:
        connections.close_all()


def take_report(tenant_id: UUID, ae_title: str, request: Any, syntax: uid.UID) -> Dataset:
    """Record a peer's N-EVENT-REPORT, and return the status of its response. Never raises."""
    answer = Dataset()
    answer.Status = _status_of_report(tenant_id, ae_title, request, syntax)
    return answer


def _status_of_report(tenant_id: UUID, ae_title: str, request: Any, syntax: uid.UID) -> int:
    if request.AffectedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        return NO_SUCH_INSTANCE
    if request.EventTypeID not in (ALL_COMMITTED, FAILURES_EXIST):
        return NO_SUCH_EVENT_TYPE
    try:
        transaction_uid, committed, failures = _read(request.EventInformation, syntax)
    # pydicom raises many kinds of errors for bytes of unknown origin.
    except Exception:
        return INVALID_ARGUMENT
    try:
        with tenant_tx(tenant_id):
            is_known = record_report(
                ae_title=ae_title, transaction_uid=transaction_uid, committed=committed, failures=failures
            )
    except Exception as error:
        # A peer that is answered with a failure reports again. The message may contain patient data.
        logger.error("A report of storage commitment could not be recorded: %s.", type(error).__name__)
        return PROCESSING_FAILURE
    return SUCCESS if is_known else INVALID_ARGUMENT


def _read(data: BytesIO | None, syntax: uid.UID) -> tuple[str, set[str], Mapping[str, int]]:
    """Transaction UID, the committed instances, and the others with their Failure Reason (PS3.4 table J.3-2)."""
    report = decode(data or BytesIO(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    committed = {str(each.ReferencedSOPInstanceUID) for each in report.get("ReferencedSOPSequence") or []}
    failures = {
        str(each.ReferencedSOPInstanceUID): int(each.get("FailureReason") or _NO_REASON)
        for each in report.get("FailedSOPSequence") or []
    }
    transaction_uid = str(report.TransactionUID)
    if not transaction_uid:
        raise ValueError("The report has no Transaction UID.")
    return transaction_uid, committed, failures
