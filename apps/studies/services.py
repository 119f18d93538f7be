"""Taking an instance in: first its object, then its rows."""

import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError
from apps.core.identifiers import uuid7
from apps.studies import attributes as columns
from apps.studies.models import object_key
from apps.studies.spool import SpooledFile
from apps.studies.storage import put_file

_NEW: Final = "new"
_CONFLICTS: Final = {
    "duplicate-with-other-content": (
        "This SOPInstanceUID is stored with other content. Send the changed image under a new UID."
    ),
    "study-of-another-patient": (
        "This study is stored for another patient. Correct PatientID or StudyInstanceUID and send it again."
    ),
}


@dataclass(frozen=True)
class StoredInstance:
    study_id: UUID
    is_new: bool


def put_instance(*, tenant_id: UUID, spooled: SpooledFile) -> bool:
    """Write the object of an instance, outside of every transaction; whether it was not there, whole, before.

    Where its rows are not committed afterwards, it is an orphan, which ``manage.py scrub_objects`` collects.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take the object.
    """
    return put_file(object_key(tenant_id, spooled.sha256), spooled)


def store_instance(*, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
    """Write the rows of one instance that has passed the preflight, for the tenant in force.

    Its object is there already (`put_instance`), so that a row without its object is never seen, and no transaction
    stays open while a storage is slow. The same bytes again change nothing. The study's row stays locked until the
    transaction ends, so that a job which completes meanwhile sees this instance.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes, or the study is another patient's.
        IntegrityError: another request stored the study or the instance at the same moment; try again.
    """
    instance_id = uuid7()
    outcome, study_id = _insert(_rows(instance_id, spooled, found))
    if outcome in _CONFLICTS:
        raise ConflictError(_CONFLICTS[outcome], outcome)
    if outcome == _NEW:
        record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance_id)
    return StoredInstance(study_id, is_new=outcome == _NEW)


def _rows(instance_id: UUID, spooled: SpooledFile, found: columns.InspectedInstance) -> list[dict[str, object]]:
    """The patient, study, series and instance that are to be there, by column."""
    received = timezone.now()
    return [
        {"id": uuid7(), **columns.patient_identity(found.attributes), **columns.patient_fields(found.attributes)},
        {
            "id": uuid7(),
            "study_instance_uid": found.study_instance_uid,
            "received": received,
            **columns.study_fields(found.attributes),
        },
        {
            "id": uuid7(),
            "series_instance_uid": found.series_instance_uid,
            **columns.series_fields(found.attributes),
        },
        {
            "id": instance_id,
            "sop_instance_uid": found.sop_instance_uid,
            "sha256": spooled.sha256,
            "size": spooled.size,
            "received": received,
            **columns.instance_fields(found),
        },
    ]


def _insert(rows: list[dict[str, object]]) -> tuple[str, UUID]:
    """What became of the instance, and its study: one round trip, see ``studies/migrations/0003_store_instance.py``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select outcome, of_study from studies_store_instance(%s, %s, %s, %s)",
            [json.dumps(row, default=str) for row in rows],
        )
        outcome, study_id = cursor.fetchone()
    return outcome, study_id
