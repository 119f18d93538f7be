"""Taking an instance in: the object first, then its rows, all or nothing."""

from dataclasses import dataclass

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError
from apps.studies import attributes as columns
from apps.studies.models import Instance, Patient, Series, Study, object_key
from apps.studies.spool import SpooledFile
from apps.studies.storage import put_file
from apps.tenants.models import TenantModel
from apps.tenants.scope import current_tenant_id


@dataclass(frozen=True)
class StoredInstance:
    instance: Instance
    study: Study
    is_new: bool


def store_instance(*, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
    """Store one instance that has passed the preflight, for the tenant in force; the caller has opened a savepoint.

    The same bytes again change nothing. The study's row stays locked until the transaction ends, so that a job that
    completes meanwhile sees this instance.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes, or the study is another patient's.
    """
    study = _locked_study(found)
    known = Instance.objects.filter(sop_instance_uid=found.sop_instance_uid).select_related("series__study").first()
    if known is not None:
        if known.sha256 != spooled.sha256:
            raise ConflictError(
                "This SOPInstanceUID is stored with other content. Send the changed image under a new UID.",
                "duplicate-with-other-content",
            )
        return StoredInstance(known, known.series.study, is_new=False)
    put_file(object_key(current_tenant_id(), spooled.sha256), spooled)
    instance = Instance.objects.create(
        series=_series(study, found),
        sop_instance_uid=found.sop_instance_uid,
        sha256=spooled.sha256,
        size=spooled.size,
        **columns.instance_fields(found),
    )
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return StoredInstance(instance, study, is_new=True)


def _locked_study(found: columns.InspectedInstance) -> Study:
    identity = columns.patient_identity(found.attributes)
    uid = found.study_instance_uid
    lockable = Study.objects.select_for_update(no_key=True, of=("self",)).select_related("patient")
    study = lockable.filter(study_instance_uid=uid).first()
    if study is None:
        patient = _patient(identity, found)
        fields = columns.study_fields(found.attributes)
        _insert_unless_known(Study(patient=patient, study_instance_uid=uid, **fields))
        study = lockable.get(study_instance_uid=uid)
    known_id = study.patient.patient_id
    if identity["patient_id"] and known_id and known_id != identity["patient_id"]:
        raise ConflictError(
            "This study is stored for another patient. Correct PatientID or StudyInstanceUID and send it again.",
            "study-of-another-patient",
        )
    return study


def _patient(identity: dict[str, str], found: columns.InspectedInstance) -> Patient:
    fields = columns.patient_fields(found.attributes)
    if not identity["patient_id"]:
        return Patient.objects.create(**identity, **fields)
    patient = Patient.objects.filter(**identity).first()
    if patient is None:
        _insert_unless_known(Patient(**identity, **fields))
        patient = Patient.objects.get(**identity)
    return patient


def _series(study: Study, found: columns.InspectedInstance) -> Series:
    # Nobody else adds a series meanwhile: the study is locked.
    series = Series.objects.filter(study=study, series_instance_uid=found.series_instance_uid).first()
    return series or Series.objects.create(
        study=study,
        series_instance_uid=found.series_instance_uid,
        **columns.series_fields(found.attributes),
    )


def _insert_unless_known(row: TenantModel) -> None:
    """One statement that waits for a request which inserts the same row, where ``get_or_create`` needs a savepoint."""
    type(row)._default_manager.bulk_create([row], ignore_conflicts=True)
