"""Taking an instance in: first its object, then its rows."""

import contextlib
import json
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.studies import attributes as columns
from apps.studies.models import Instance, object_key
from apps.studies.spool import SpooledFile
from apps.studies.storage import delete_object, put_file
from apps.tenants.scope import tenant_tx

DUPLICATE: Final = "duplicate-with-other-content"
_NEW: Final = "new"
_CONFLICTS: Final = {
    DUPLICATE: ("This SOPInstanceUID is stored with other content. Send the changed image under a new UID."),
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


def replace_lost_object(
    *, instance: Instance, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor
) -> bool:
    """Let the object of a resend take the place of one that is lost, for the tenant in force; whether it may.

    Its bytes differ from those that are lost, as after another route, so nothing but what it says of itself can be
    compared: it must name the same study and series and have the attributes that were kept.
    """
    kept = ("sop_class_uid", "rows", "columns", "view_position", "attributes")
    new = columns.instance_fields(found)
    if (instance.series.series_instance_uid, instance.series.study.study_instance_uid) != (
        found.series_instance_uid,
        found.study_instance_uid,
    ) or any(getattr(instance, name) != new[name] for name in kept):
        return False
    changes = {"transfer_syntax_uid": new["transfer_syntax_uid"], "sha256": spooled.sha256, "size": spooled.size}
    if not Instance.objects.filter(pk=instance.pk, sha256=instance.sha256).update(**changes):
        return False
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return True


def drop_object(*, tenant_id: UUID, sha256: str) -> None:
    """Remove the object of an instance that was not stored. Where that fails, the collector of orphans does it."""
    with tenant_tx(tenant_id):
        if Instance.objects.filter(sha256=sha256).exists():
            return
    with contextlib.suppress(UnavailableError, OutOfSpaceError):
        delete_object(object_key(tenant_id, sha256))


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
