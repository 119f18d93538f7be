"""Taking an instance in: the object first, then its rows, all or nothing."""

from dataclasses import dataclass

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError
from apps.studies import attributes as columns
from apps.studies.models import Instance, Patient, Series, Study, object_key
from apps.studies.spool import SpooledFile
from apps.studies.storage import put_file
from apps.tenants.scope import current_tenant_id


@dataclass(frozen=True)
class StoredInstance:
    instance: Instance
    study: Study
    is_new: bool


def store_instance(
    *, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor, expect_new: bool
) -> StoredInstance:
    """Store one instance that has passed the preflight, for the tenant in force.

    The same bytes again change nothing. The study's row stays locked until the transaction ends, so that a job that
    completes meanwhile sees this instance.

    Args:
        expect_new: do not look for an instance of an unknown study, which is almost always new: the unique constraint
            looks it up at no cost of its own.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes, or the study is another patient's.
        IntegrityError: with ``expect_new``, the instance is known in another study, or another request was faster.
    """
    study = _locked_study(found)
    known = None if study is None and expect_new else _known_instance(found)
    if known is not None:
        if known.sha256 != spooled.sha256:
            raise ConflictError(
                "This SOPInstanceUID is stored with other content. Send the changed image under a new UID.",
                "duplicate-with-other-content",
            )
        return StoredInstance(known, known.series.study, is_new=False)
    put_file(object_key(current_tenant_id(), spooled.sha256), spooled)
    if study is None:
        study = _create_study(found)
        series = _create_series(study, found)
    else:
        series = _find_series(study, found) or _create_series(study, found)
    instance = Instance.objects.create(
        series=series,
        sop_instance_uid=found.sop_instance_uid,
        sha256=spooled.sha256,
        size=spooled.size,
        **columns.instance_fields(found),
    )
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return StoredInstance(instance, study, is_new=True)


def _known_instance(found: columns.InspectedInstance) -> Instance | None:
    instances = Instance.objects.select_related("series__study")
    return instances.filter(sop_instance_uid=found.sop_instance_uid).first()


def _locked_study(found: columns.InspectedInstance) -> Study | None:
    locked = Study.objects.select_for_update(no_key=True, of=("self",)).select_related("patient")
    known_as = locked.only("tenant_id", "study_instance_uid", "patient__patient_id")
    # No `first()`: its ordering costs more than the look-up. There is one row at most.
    study = next(iter(known_as.filter(study_instance_uid=found.study_instance_uid)), None)
    if study is None:
        return None
    said, known = columns.patient_identity(found.attributes)["patient_id"], study.patient.patient_id
    if said and known and said != known:
        raise ConflictError(
            "This study is stored for another patient. Correct PatientID or StudyInstanceUID and send it again.",
            "study-of-another-patient",
        )
    return study


def _create_study(found: columns.InspectedInstance) -> Study:
    identity = columns.patient_identity(found.attributes)
    known = Patient.objects.filter(**identity).only("tenant_id") if identity["patient_id"] else ()
    patient = next(iter(known), None)
    if patient is None:
        patient = Patient.objects.create(**identity, **columns.patient_fields(found.attributes))
    fields = columns.study_fields(found.attributes)
    return Study.objects.create(patient=patient, study_instance_uid=found.study_instance_uid, **fields)


def _find_series(study: Study, found: columns.InspectedInstance) -> Series | None:
    return Series.objects.filter(study=study, series_instance_uid=found.series_instance_uid).first()


def _create_series(study: Study, found: columns.InspectedInstance) -> Series:
    fields = columns.series_fields(found.attributes)
    return Series.objects.create(study=study, series_instance_uid=found.series_instance_uid, **fields)
