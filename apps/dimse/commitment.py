"""Storage Commitment as SCP (PS3.4 annex J): take a request, decide what is stored, report it on a new association.

A report of a peer that we asked is taken here too; `apps.results.committing` records it.
"""

import logging
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode
from pynetdicom.presentation import build_context, build_role

from apps.core.errors import ObjectLostError
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.work_queue import JobState
from apps.dimse.contexts import PLAIN_TRANSFER_SYNTAXES
from apps.dimse.models import Commitment
from apps.dimse.queue import COMMITMENTS
from apps.dimse.requests import PROCESSING_FAILURE, SUCCESS, RefusedError, admit_request
from apps.results.clients.association import PeerError, associated
from apps.results.clients.commitment_scu import REQUEST, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
from apps.results.clients.peers import node_of, noting
from apps.results.committing import ALL_COMMITTED, FAILURES_EXIST, INVALID_ARGUMENT, NO_SUCH_INSTANCE, take_report
from apps.routing.models import PeerProblem
from apps.routing.selectors import Caller, find_receiver
from apps.studies.models import Instance
from apps.studies.storage import require_objects
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
# A status of the N-ACTION response (PS3.7 annex C).
NO_SUCH_ACTION: Final = 0x0123
# Failure reasons in the report (PS3.3 C.14.1.1); 0110H and 0112H as above.
CLASS_CONFLICT: Final = 0x0119
MOST_REFERENCES: Final = 10_000
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")


def request_commitment(caller: Caller, request: Any, syntax: UID) -> None:
    """Store a request of a peer (N-ACTION); the report follows on an association that we open.

    A request that comes again is reported again, and decided anew.

    Raises:
        RefusedError: it is not taken.
    """
    requester = admit_request(caller, to_read=False)
    if request.RequestedSOPInstanceUID != WELL_KNOWN_INSTANCE:
        raise RefusedError(NO_SUCH_INSTANCE, "There is one well-known instance.")
    if request.ActionTypeID != REQUEST:
        raise RefusedError(NO_SUCH_ACTION, "Action type 1 is supported.")
    transaction_uid, references = _read(request.ActionInformation, syntax)
    with tenant_tx(requester.tenant.pk):
        if find_receiver(caller.calling) is None:
            raise RefusedError(PROCESSING_FAILURE, "This peer has no host here, to which a report could go.")
        asked, is_new = Commitment.objects.get_or_create(
            ae_title=caller.calling, transaction_uid=transaction_uid, defaults={"references": references}
        )
        if not is_new:
            # A worker that holds the row by now loses it, because the fence is higher.
            Commitment.objects.filter(pk=asked.pk).update(
                references=references, failures=None, state=JobState.QUEUED, attempts=0, run_after=None, finished=None,
                fence=F("fence") + 1,
            )  # fmt: skip
        wake_after_commit(WakeUp.COMMIT)


def take_request(caller: Caller, request: Any, syntax: UID) -> Dataset:
    """As `request_commitment`, with the status of the N-ACTION response. Never raises."""
    answer = Dataset()
    try:
        request_commitment(caller, request, syntax)
        answer.Status = SUCCESS
    except RefusedError as error:
        answer.Status, answer.ErrorComment = error.status, error.comment
    except Exception as error:
        # A peer that is answered with a failure asks again. The message may contain patient data.
        logger.error("A request for storage commitment failed: %s.", type(error).__name__)
        answer.Status = PROCESSING_FAILURE
    return answer


def take_peer_report(caller: Caller, request: Any, syntax: UID) -> Dataset:
    """Record the report (N-EVENT-REPORT) of a peer that we asked; the status of its response. Never raises."""
    try:
        requester = admit_request(caller, to_read=False)
    except RefusedError as error:
        answer = Dataset()
        answer.Status = error.status
        return answer
    return take_report(requester.tenant.pk, caller.calling, request, syntax)


def report_commitment(job: Commitment) -> None:
    """Decide a request, unless that is done, and report it to the peer; ends the job, or lets it be tried again."""
    assert job.tenant_id is not None
    tenant = Tenant.objects.get(pk=job.tenant_id)
    with tenant_tx(tenant.pk):
        asked = Commitment.objects.get(pk=job.pk)
        stored = _stored(asked.references) if asked.failures is None else {}
    if asked.failures is None:
        # No transaction is open while the storage answers for up to `MOST_REFERENCES` objects.
        asked.failures = _failures(asked.references, stored)
    with tenant_tx(tenant.pk):
        if not COMMITMENTS.held(job).update(failures=asked.failures):
            # The peer has asked again: the newer request is decided for itself.
            return
        peer = find_receiver(asked.ae_title)
        node = node_of(peer, tenant) if peer else None
    if peer is None or node is None:
        _end(job, reason="The peer is not listed with a host any more.")
        return
    try:
        with noting(peer.pk, tenant.pk):
            _send(asked, node)
    except PeerError as error:
        _end(job, reason=error.detail)
    else:
        _end(job)


def _end(job: Commitment, *, reason: str = "") -> None:
    assert job.tenant_id is not None
    with tenant_tx(job.tenant_id), transaction.atomic():
        if reason:
            COMMITMENTS.fail(job=job, reason=reason)
        else:
            COMMITMENTS.complete(job=job)


def _send(asked: Commitment, node: Any) -> None:
    report = Dataset()
    report.TransactionUID = asked.transaction_uid
    failures = asked.failures or []
    failed = {instance for _, instance, _ in failures}
    report.ReferencedSOPSequence = [_item(*each) for each in asked.references if each[1] not in failed]
    if failed:
        report.FailedSOPSequence = [_item(*each) for each in failures]
    context = build_context(STORAGE_COMMITMENT, [str(each) for each in reversed(PLAIN_TRANSFER_SYNTAXES)])
    with associated(node, [context], [build_role(STORAGE_COMMITMENT, scp_role=True)]) as association:
        for accepted in association.accepted_contexts:
            # Some peers take the report without an answer about roles.
            accepted._as_scp = True
        event = FAILURES_EXIST if failed else ALL_COMMITTED
        status, _ = association.send_n_event_report(report, event, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
        if getattr(status, "Status", None) != SUCCESS:
            raise PeerError(PeerProblem.ABORTED)


def _item(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def _stored(references: list[list[str]]) -> dict[str, Instance]:
    """The stored instances among the references, by SOP Instance UID."""
    rows = Instance.objects.filter(sop_instance_uid__in={instance for _, instance in references})
    return {each.sop_instance_uid: each for each in rows}


def _failures(references: list[list[str]], stored: Mapping[str, Instance]) -> list[list[Any]]:
    """What cannot be committed, each with its Failure Reason: not there, another class, or its object is lost.

    Raises:
        UnavailableError: the storage does not answer; the request is decided later.
    """
    failures: list[list[Any]] = []
    for sop_class_uid, sop_instance_uid in references:
        instance = stored.get(sop_instance_uid)
        reason = NO_SUCH_INSTANCE if instance is None else None
        if instance is not None and instance.sop_class_uid != sop_class_uid:
            reason = CLASS_CONFLICT
        elif instance is not None:
            try:
                require_objects([(instance.object_key, instance.size)])
            except ObjectLostError:
                reason = PROCESSING_FAILURE
        if reason is not None:
            failures.append([sop_class_uid, sop_instance_uid, reason])
    return failures


def _read(data: BytesIO | None, syntax: UID) -> tuple[str, list[list[str]]]:
    try:
        dataset = decode(data or BytesIO(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        transaction_uid = str(dataset.TransactionUID)
        references = [
            [str(each.ReferencedSOPClassUID), str(each.ReferencedSOPInstanceUID)]
            for each in dataset.ReferencedSOPSequence
        ]
    except Exception as error:
        # pydicom raises many kinds of errors for bytes of unknown origin.
        raise RefusedError(INVALID_ARGUMENT, "Transaction UID or references cannot be read.") from error
    uids = [transaction_uid, *(uid for each in references for uid in each)]
    if not references or not all(len(uid) <= 64 and _UID.fullmatch(uid) for uid in uids):
        raise RefusedError(INVALID_ARGUMENT, "Transaction UID and references must be UIDs.")
    if len(references) > MOST_REFERENCES:
        raise RefusedError(PROCESSING_FAILURE, f"At most {MOST_REFERENCES} references are taken at once.")
    return transaction_uid, references
