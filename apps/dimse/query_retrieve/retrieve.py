"""What a C-MOVE or C-GET retrieves (PS3.4 C.4.2.2.1, C.4.3.2.1), and where a C-MOVE sends it."""

from dataclasses import dataclass
from io import BytesIO
from typing import Final
from uuid import UUID

from pydicom.uid import UID

from apps.audit.models import AuditEvent
from apps.audit.services import record
from apps.dimse.query_retrieve.identifiers import UNIQUE_KEYS, Identifier, QueryLevel, read_identifier
from apps.dimse.requests import (
    DESTINATION_UNKNOWN,
    IDENTIFIER_MISMATCH,
    RefusedError,
    Requester,
    admit_request,
)
from apps.results.clients.association import RemoteNode
from apps.results.clients.peers import node_of
from apps.results.clients.store_scu import OutgoingInstance
from apps.routing.selectors import Caller, find_receiver
from apps.studies.models import Instance
from apps.studies.selectors import visible_instances
from apps.tenants.scope import tenant_tx

# PS3.4 C.4.2.1.5: the number of matches cannot be stated.
TOO_MANY_MATCHES: Final = 0xA701
# Numbers of sub-operations have the VR US.
MOST_INSTANCES: Final = 65_535
_FIELDS: Final = {
    QueryLevel.PATIENT: "series__study__patient__patient_id",
    QueryLevel.STUDY: "series__study__study_instance_uid",
    QueryLevel.SERIES: "series__series_instance_uid",
    QueryLevel.IMAGE: "sop_instance_uid",
}


@dataclass(frozen=True)
class Retrieved:
    """The instances of a request, and the destination of a C-MOVE with its row."""

    instances: list[OutgoingInstance]
    requester: Requester
    destination: RemoteNode | None = None
    destination_id: UUID | None = None


def find_retrieved(
    caller: Caller,
    identifier: BytesIO | None,
    syntax: UID,
    sop_class_uid: str,
    *,
    is_relational: bool,
    move_to: str | None,
) -> Retrieved:
    """Find the instances of a request, with an entry in the audit trail for each study.

    Args:
        is_relational: whether relational retrieval is negotiated (PS3.4 C.5.2.1).
        move_to: the AE title of the destination; None for C-GET.

    Raises:
        RefusedError: the request is not carried out.
    """
    requester = admit_request(caller, to_read=True)
    asked = read_identifier(identifier, syntax, sop_class_uid)
    if not is_relational:
        asked.require_parents()
    with tenant_tx(requester.tenant.pk):
        destination = None if move_to is None else find_receiver(move_to)
        if move_to is not None and destination is None:
            raise RefusedError(DESTINATION_UNKNOWN, "The destination is not listed, or has no host.")
        found = _instances(asked)
        _record(found, requester, "dimse:c-get" if move_to is None else f"dimse:c-move {move_to}")
        node = node_of(destination, requester.tenant) if destination else None
    instances = [
        OutgoingInstance(
            each.sop_class_uid, each.sop_instance_uid, each.transfer_syntax_uid, each.object_key, each.size
        )
        for each in found
    ]
    return Retrieved(instances, requester, node, destination.pk if destination else None)


def _instances(asked: Identifier) -> list[Instance]:
    if not asked.uids(asked.level):
        raise RefusedError(IDENTIFIER_MISMATCH, f"{asked.level} level needs a {UNIQUE_KEYS[asked.level]}.")
    found = visible_instances()
    for level in (*asked.parents, asked.level):
        values = asked.uids(level)
        if values:
            found = found.filter(**{f"{_FIELDS[level]}__in": values})
    instances = list(found.select_related("series").order_by("pk")[: MOST_INSTANCES + 1])
    if len(instances) > MOST_INSTANCES:
        raise RefusedError(TOO_MANY_MATCHES, f"More than {MOST_INSTANCES} instances match.")
    return instances


def _record(found: list[Instance], requester: Requester, operation: str) -> None:
    amounts: dict[UUID, int] = {}
    for each in found:
        amounts[each.series.study_id] = amounts.get(each.series.study_id, 0) + 1
    for study_id, amount in amounts.items():
        record(
            action=AuditEvent.Action.INSTANCES_RETRIEVED,
            by=requester.by,
            object_id=study_id,
            operation=operation,
            amount=amount,
        )
