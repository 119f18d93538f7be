"""Taking an instance in: the object first, then its rows, all or nothing."""

from dataclasses import dataclass

from django.db import transaction

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
    """Store one instance that has passed the preflight, for the tenant in force.

    The same bytes again change nothing. The study's row stays locked until the transaction ends, so that a job that
    completes meanwhile sees this instance.

    Raises:
        ConflictError: the SOPInstanceUID is known with other bytes, or the study is another patient's.
    """
    with transaction.atomic():
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
        series, _ = Series.objects.get_or_create(
            study=study,
            series_instance_uid=found.series_instance_uid,
            defaults=columns.series_fields(found.attributes),
        )
        instance = Instance.objects.create(
            series=series,
            sop_instance_uid=found.sop_instance_uid,
            sha256=spooled.sha256,
            size=spooled.size,
            **columns.instance_fields(found),
        )
        record(action=AuditEvent.Action.INSTANCE_STORED, by=by, object_id=instance.pk)
    return StoredInstance(instance, study, is_new=True)


def _locked_study(found: columns.InspectedInstance) -> Study:
    uid = found.study_instance_uid
    identity = columns.patient_identity(found.attributes)
    study = Study.objects.select_for_update(no_key=True).filter(study_instance_uid=uid).first()
    if study is None:
        patient = _patient(identity, found)
        fields = columns.study_fields(found.attributes)
        created, is_new = Study.objects.get_or_create(study_instance_uid=uid, defaults={"patient": patient, **fields})
        study = Study.objects.select_for_update(no_key=True).get(pk=created.pk)
        if is_new:
            return study
    if identity["patient_id"] and study.patient.patient_id not in ("", identity["patient_id"]):
        raise ConflictError(
            "This study is stored for another patient. Correct PatientID or StudyInstanceUID and send it again.",
            "study-of-another-patient",
        )
    return study


def _patient(identity: dict[str, str], found: columns.InspectedInstance) -> Patient:
    fields = columns.patient_fields(found.attributes)
    if not identity["patient_id"]:
        return Patient.objects.create(**identity, **fields)
    return Patient.objects.get_or_create(**identity, defaults=fields)[0]
