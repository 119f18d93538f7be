"""Services that store an instance: first its object, then its rows."""

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.studies import attributes as columns
from apps.studies.conflicts import DEMOGRAPHICS, copy_demographics, recheck_patient, review_instance
from apps.studies.identity import is_placeholder, placeholder_key
from apps.studies.models import Instance, object_key
from apps.studies.spool import SpooledFile
from apps.studies.storage import delete_object, put_file
from apps.tenants.scope import tenant_tx

DUPLICATE: Final = "duplicate-with-other-content"
_NEW: Final = "new"
_CONFLICTS: Final = {
    DUPLICATE: ("This SOPInstanceUID is stored with other content. Send the changed image under a new UID."),
}


@dataclass(frozen=True)
class StoredInstance:
    """The result of storing an instance.

    Attributes:
        is_new_study: it is the first instance of its study.
        in_conflict: its demographics contradict others of its study or patient, and no user has settled that yet.
        is_withdrawn: its study was withdrawn, so the instance is not read.
        is_stored_only: a rule of the tenant says that it is not read.
    """

    study_id: UUID
    is_new: bool
    in_conflict: bool = False
    is_withdrawn: bool = False
    is_stored_only: bool = False
    is_new_study: bool = False


@dataclass(frozen=True)
class _Inserted:
    outcome: str
    study_id: UUID
    needs_review: bool
    in_conflict: bool
    is_withdrawn: bool


def put_instance(*, tenant_id: UUID, spooled: SpooledFile) -> bool:
    """Write the object of an instance, outside of every transaction.

    Where its rows are not committed afterwards, it is an orphan, which ``manage.py scrub_objects`` collects.

    Returns:
        False where the undamaged object was there already.

    Raises:
        OutOfSpaceError, UnavailableError: the storage did not take the object.
    """
    return put_file(object_key(tenant_id, spooled.sha256), spooled)


def store_instance(*, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
    """Write the rows of one instance that has passed the preflight, for the tenant in force.

    Its object is stored before (`put_instance`), so that no row exists without its object, and no transaction stays
    open while the storage is slow. Storing the same bytes again changes nothing. The study's row stays locked until
    the transaction ends, so that a job which completes meanwhile sees this instance. Demographics that contradict
    those of the study or the patient are stored as a conflict.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes.
        IntegrityError: another request stored the study or the instance at the same moment; try again.
    """
    instance_id = uuid7()
    rows = _rows(instance_id, spooled, found)
    done = _insert(rows, placeholder_key(found.attributes.get("PatientID", "")))
    if done.outcome in _CONFLICTS:
        raise ConflictError(_CONFLICTS[done.outcome], done.outcome)
    in_conflict = done.in_conflict
    if done.outcome == _NEW:
        record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance_id)
        if done.needs_review:
            in_conflict = review_instance(instance_id=instance_id, by=by)
    is_new_study = done.study_id == rows[1]["id"]
    return StoredInstance(
        done.study_id, done.outcome == _NEW, in_conflict, done.is_withdrawn, is_new_study=is_new_study
    )


def replace_lost_object(
    *, instance: Instance, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor
) -> bool:
    """Replace the lost object of an instance of the tenant in force by one that was sent again.

    Its bytes may differ from the lost ones, for example where it came from another system, so only attributes can be
    compared: it must belong to the same study and series and have the attributes that the row keeps.

    Returns:
        False where the attributes differ; nothing is changed then.
    """
    kept = ("sop_class_uid", "rows", "columns", "unreadable", "view_position")
    new = columns.instance_fields(found)
    # Rows from before an upgrade keep fewer attributes. Those of group 0002 are of the sender, not of the instance.
    stored = {name: value for name, value in instance.attributes.items() if name not in columns.OF_THE_FILE}
    if any(found.attributes.get(name) != value for name, value in stored.items()):
        return False
    if (instance.series.series_instance_uid, instance.series.study.study_instance_uid) != (
        found.series_instance_uid,
        found.study_instance_uid,
    ) or any(getattr(instance, name) != new[name] for name in kept):
        return False
    demographics = {**columns.patient_identity(found.attributes), **columns.demographics_fields(found.attributes)}
    if instance.is_filled and any(getattr(instance, name) != value for name, value in demographics.items()):
        return False
    changes = {
        "transfer_syntax_uid": new["transfer_syntax_uid"],
        "sha256": spooled.sha256,
        "size": spooled.size,
        "restored": Now(),
        **demographics,
    }
    if not Instance.objects.filter(pk=instance.pk, sha256=instance.sha256).update(**changes):
        return False
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return True


def note_restored(sop_instance_uid: str) -> None:
    """Record that the lost or damaged object of an instance of the tenant in force was written again."""
    Instance.objects.filter(sop_instance_uid=sop_instance_uid).update(restored=Now())


def drop_object(*, tenant_id: UUID, sha256: str) -> None:
    """Remove the object of an instance that was not stored. Where that fails, the collector of orphans does it."""
    with tenant_tx(tenant_id):
        if Instance.objects.filter(sha256=sha256).exists():
            return
    with contextlib.suppress(UnavailableError, OutOfSpaceError):
        delete_object(object_key(tenant_id, sha256))


def follow_read_instances(*, instance_ids: Collection[UUID], by: Actor) -> None:
    """Give each study the demographics of the image that was read, unless a user entered others.

    Where the images of a study agree, nothing changes.
    """
    read = Instance.objects.filter(pk__in=instance_ids).select_related("series__study__patient")
    for instance in read:
        study = instance.series.study
        if instance.is_filled and not study.demographics_are_set and copy_demographics(instance, study):
            study.save(update_fields=DEMOGRAPHICS)
            recheck_patient(study.patient, by=by)


def _rows(instance_id: UUID, spooled: SpooledFile, found: columns.InspectedInstance) -> list[dict[str, object]]:
    """The rows of patient, study, series and instance by column; the SQL function fills in tenant and parents."""
    received = timezone.now()
    identity = columns.patient_identity(found.attributes)
    demographics = columns.demographics_fields(found.attributes)
    return [
        {"id": uuid7(), **identity, "is_identified": not is_placeholder(identity["patient_id"])},
        {
            "id": uuid7(),
            "study_instance_uid": found.study_instance_uid,
            "received": received,
            **demographics,
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
            **identity,
            **demographics,
            **columns.instance_fields(found),
        },
    ]


def _insert(rows: list[dict[str, object]], placeholder: str) -> _Inserted:
    """Store the rows in one round trip: see ``studies/migrations/0009_store_named_columns.py``."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select outcome, of_study, needs_review, in_conflict, is_withdrawn"
            " from studies_store_instance(%s, %s, %s, %s, %s)",
            [*(json.dumps(row, default=str) for row in rows), placeholder],
        )
        return _Inserted(*cursor.fetchone())
