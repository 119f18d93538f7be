"""Taking an instance in: the object first, then its rows, all or nothing."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction

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


def store_instance(*, spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
    """Store one instance that has passed the preflight, for the tenant in force, in a savepoint of its own.

    The same bytes again change nothing. The study's row stays locked until the transaction ends, so that a job that
    completes meanwhile sees this instance.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes, or the study is another patient's.
    """
    try:
        with transaction.atomic():
            return _store(spooled, found, by)
    except IntegrityError:
        # Another request stored one of the rows at the same moment. It has committed, so now the row is found.
        with transaction.atomic():
            return _store(spooled, found, by)


def _store(spooled: SpooledFile, found: columns.InspectedInstance, by: Actor) -> StoredInstance:
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
    study = study or _create_study(found)
    instance = Instance.objects.create(
        series=_series(study, found),
        sop_instance_uid=found.sop_instance_uid,
        sha256=spooled.sha256,
        size=spooled.size,
        **columns.instance_fields(found),
    )
    record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return StoredInstance(instance, study, is_new=True)


def _locked_study(found: columns.InspectedInstance) -> Study | None:
    study = (
        Study.objects.select_for_update(no_key=True, of=("self",))
        .select_related("patient")
        .filter(study_instance_uid=found.study_instance_uid)
        .first()
    )
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
    patient = Patient.objects.filter(**identity).first() if identity["patient_id"] else None
    if patient is None:
        patient = Patient.objects.create(**identity, **columns.patient_fields(found.attributes))
    fields = columns.study_fields(found.attributes)
    return Study.objects.create(patient=patient, study_instance_uid=found.study_instance_uid, **fields)


def _series(study: Study, found: columns.InspectedInstance) -> Series:
    # Nobody else adds a series meanwhile: the study is locked.
    uid = found.series_instance_uid
    series = Series.objects.filter(study=study, series_instance_uid=uid).first()
    return series or Series.objects.create(
        study=study, series_instance_uid=uid, **columns.series_fields(found.attributes)
    )
