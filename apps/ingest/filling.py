"""Fills the demographics of studies that are older than these columns, from their stored objects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q

from apps.audit.services import Actor
from apps.core.errors import ObjectLostError
from apps.inference.selectors import latest_job
from apps.registry import engine
from apps.studies import attributes as columns
from apps.studies.conflicts import (
    DEMOGRAPHICS,
    attach,
    copy_demographics,
    hold_images,
    instances_with_demographics,
    own_placeholders,
    patient_for,
    recheck_patient,
    recheck_study,
    variant_of,
)
from apps.studies.identity import is_placeholder
from apps.studies.models import Instance, Patient, Study
from apps.studies.storage import local_path
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx

_BATCH = 100


@dataclass(frozen=True)
class UnreadableInstance:
    """An instance whose object could not be read, and the reason; with primary keys and without patient data."""

    study_id: UUID
    instance_id: UUID
    reason: str


@dataclass
class FillSummary:
    """The numbers of one run for one tenant."""

    studies: int = 0
    unreadable: int = 0


def count_unfilled(tenant: Tenant) -> int:
    """The number of a tenant's studies that are not filled, or have an image that is not filled."""
    with tenant_tx(tenant.pk):
        return _unfilled().count()


def fill_demographics(
    *, tenant: Tenant, by: Actor, report: Callable[[UnreadableInstance], None], progress: Callable[[int], None]
) -> FillSummary:
    """Read the objects of a tenant's unfilled studies and store their demographics, one study a transaction.

    A run that was stopped can be repeated: filled studies are skipped. No transaction is open while an object is read.
    A lost or damaged object is reported; the next run tries it again.

    Raises:
        UnavailableError: the storage did not answer; run it again.
    """
    done = FillSummary()
    last: UUID | None = None
    while ids := _next(tenant, last):
        for study_id in ids:
            done.studies += 1
            last = study_id
            unreadable = _fill_study(tenant, study_id, by)
            done.unreadable += len(unreadable)
            for each in unreadable:
                report(each)
            progress(done.studies)
    return done


def _unfilled() -> Any:
    studies = Study.objects.filter(
        Q(demographics_key__isnull=True) | Q(series__instances__demographics_key__isnull=True)
    )
    return studies.order_by("pk").values_list("pk", flat=True).distinct()


def _next(tenant: Tenant, last: UUID | None) -> list[UUID]:
    with tenant_tx(tenant.pk):
        studies = _unfilled()
        return list((studies.filter(pk__gt=last) if last else studies)[:_BATCH])


def _fill_study(tenant: Tenant, study_id: UUID, by: Actor) -> list[UnreadableInstance]:
    with tenant_tx(tenant.pk):
        waiting = list(Instance.objects.filter(series__study=study_id, demographics_key__isnull=True).order_by("pk"))
    found: dict[UUID, dict[str, Any]] = {}
    unreadable = []
    for instance in waiting:
        try:
            with local_path(instance.object_key) as path:
                attributes = engine.inspect(path).attributes
        except (FileNotFoundError, ObjectLostError):
            unreadable.append(UnreadableInstance(study_id, instance.pk, "the object is missing or damaged"))
        except engine.InputRejected as error:
            unreadable.append(UnreadableInstance(study_id, instance.pk, error.code))
        else:
            found[instance.pk] = {**columns.patient_identity(attributes), **columns.demographics_fields(attributes)}
    with tenant_tx(tenant.pk):
        _store(study_id, found, by)
    return unreadable


def _store(study_id: UUID, found: dict[UUID, dict[str, Any]], by: Actor) -> None:
    Study.objects.select_for_update(no_key=True).get(pk=study_id)
    study = Study.objects.select_related("patient").get(pk=study_id)
    for instance_id, demographics in found.items():
        Instance.objects.filter(pk=instance_id, demographics_key__isnull=True).update(**demographics)
    job = latest_job(study)
    instances = list(instances_with_demographics(study))
    read = [each for each in instances if job is not None and each.pk == job.instance_id]
    source = next(iter([*read, *(each for each in instances if not each.is_held)]), None)
    if source is None:
        return
    if not study.is_filled and copy_demographics(source, study):
        study.save(update_fields=DEMOGRAPHICS)
    former = study.patient
    if not study.patient_is_set:
        _assign_patient(study, source)
    hold_images(study)
    recheck_study(study, by=by)
    for patient in {former, study.patient}:
        recheck_patient(patient, by=by)


def _assign_patient(study: Study, source: Instance) -> None:
    """Give a study with a placeholder ID a patient of its own, or the patient that its image names."""
    patient = study.patient
    own = own_placeholders()
    if patient.is_identified and is_placeholder(patient.patient_id, own):
        attach(
            study,
            Patient.objects.create(
                patient_id=patient.patient_id, issuer_of_patient_id=patient.issuer_of_patient_id, is_identified=False
            ),
        )
    named = variant_of(source, own)
    if named.is_identified and not study.patient.is_identified:
        attach(study, patient_for(named.patient_id, named.issuer, key=named.key))
