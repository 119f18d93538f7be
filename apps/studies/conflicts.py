"""Finds demographics that contradict each other, when an instance arrives and after every change.

Two studies of one patient, or two images of one study, may not differ in name, birth date or sex, and the images of one
study may not name two patients. An image that names another patient than its study is held: it is stored, but neither
read nor shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.studies.identity import DemographicsKey, any_differ, differ, is_placeholder
from apps.studies.models import (
    Demographics,
    DemographicsConflict,
    ImageRejection,
    Instance,
    Patient,
    PlaceholderPatientID,
    Study,
)

DEMOGRAPHICS = [field.name for field in Demographics._meta.fields]
Settlement = DemographicsConflict.Settlement


@dataclass(frozen=True)
class Variant:
    """The identity and demographics that one or several images state."""

    patient_id: str
    issuer: str
    key: tuple[str, ...]
    is_identified: bool

    def contradicts(self, other: "Variant") -> bool:
        return self.names_another_patient(other) or differ(self.key, other.key)

    def names_another_patient(self, other: "Variant") -> bool:
        """Whether the PatientID or its issuer differ. An ID that identifies no person contradicts nothing."""
        if not (self.is_identified and other.is_identified):
            return False
        other_issuer = bool(self.issuer and other.issuer and self.issuer != other.issuer)
        return self.patient_id != other.patient_id or other_issuer

    @property
    def stored(self) -> list[object]:
        return [self.patient_id, self.issuer, list(self.key)]


def own_placeholders() -> frozenset[str]:
    """The placeholders that the tenant in force added, in the form of ``placeholder_key``."""
    return frozenset(PlaceholderPatientID.objects.values_list("key", flat=True))


def variant_of(instance: Instance, own: Iterable[str]) -> Variant:
    identified = not is_placeholder(instance.patient_id, frozenset(own))
    key = tuple(instance.demographics_key or [""] * 5)
    return Variant(instance.patient_id, instance.issuer_of_patient_id, key, identified)


def review_instance(*, instance_id: UUID, by: Actor) -> bool:
    """Compare a new instance with its study, and the study with its patient.

    The caller has locked the study's row, and the patient's row of a new study.

    Returns:
        Whether a conflict is open afterwards.
    """
    instance = Instance.objects.select_related("series__study__patient").get(pk=instance_id)
    study = instance.series.study
    own = own_placeholders()
    others = [each for each in instances_with_demographics(study) if each.pk != instance.pk]
    new = variant_of(instance, own)
    if others:
        known = [variant_of(each, own) for each in others if not each.is_held]
        if _is_held(study, new, known):
            instance.is_held = True
            instance.save(update_fields=["is_held"])
        elif new.is_identified and not study.patient.is_identified and not study.patient_is_set:
            attach(study, patient_for(new.patient_id, new.issuer, key=new.key))
    elif not study.patient_is_set:
        attach(study, patient_for(new.patient_id, new.issuer, key=new.key))
    recheck_study(study, by=by)
    recheck_patient(study.patient, by=by)
    return open_conflicts_of(study).exists()


def _is_held(study: Study, variant: Variant, known: Sequence[Variant]) -> bool:
    """Whether an image names another patient than the study's other images, and no user accepted that."""
    contradicting = [each for each in known if variant.names_another_patient(each)]
    return _is_set_aside(study, variant) or (
        bool(contradicting) and not _are_accepted(study, [*contradicting, variant])
    )


def hold_images(study: Study) -> None:
    """Decide again, after a user's decision, which of the study's images are held: those that name another patient."""
    own = own_placeholders()
    patient = study.patient
    reference = Variant(patient.patient_id, patient.issuer_of_patient_id, ("",) * 5, patient.is_identified)
    for instance in instances_with_demographics(study):
        is_held = _is_held(study, variant_of(instance, own), [] if study.patient_is_set else [reference])
        if is_held != instance.is_held:
            instance.is_held = is_held
            instance.save(update_fields=["is_held"])


def review_images(study: Study, *, by: Actor) -> None:
    """Compare the study's images again, after one was rejected or its rejection withdrawn; the study's row is locked.

    Where all remaining images name another patient, the study is assigned to that patient, unless a user assigned it.
    """
    own = own_placeholders()
    former = study.patient
    left = [each for each in instances_with_demographics(study) if not _is_set_aside(study, variant_of(each, own))]
    if left and all(each.is_held for each in left) and not study.patient_is_set:
        named = variant_of(left[0], own)
        attach(study, patient_for(named.patient_id, named.issuer, key=named.key))
        record(action=AuditEvent.Action.STUDY_MOVED, by=by, object_id=study.pk)
    hold_images(study)
    first = instances_with_demographics(study).filter(is_held=False).first()
    if first is not None and not study.demographics_are_set and copy_demographics(first, study):
        study.save(update_fields=DEMOGRAPHICS)
    recheck_study(study, by=by)
    for patient in {former, study.patient}:
        recheck_patient(patient, by=by)


def instances_with_demographics(study: Study) -> "QuerySet[Instance]":
    """The study's images that are not rejected and whose demographics are known, oldest first."""
    rejected = ImageRejection.objects.filter(study=study, withdrawn_at=None)
    images = Instance.objects.filter(series__study=study, demographics_key__isnull=False)
    return images.exclude(sop_instance_uid__in=rejected.values("sop_instance_uid")).order_by("received", "id")


def open_conflicts_of(study: Study) -> "QuerySet[DemographicsConflict]":
    """The open conflicts of the study's own images, and of its patient's studies."""
    unsettled = DemographicsConflict.objects.filter(settled__isnull=True)
    return unsettled.filter(study=study) | unsettled.filter(patient=study.patient_id)


def persons_under(patient_id: str, issuer: str) -> "QuerySet[Patient]":
    """The patients that share a PatientID: one, unless a user decided that there are several."""
    return Patient.objects.filter(patient_id=patient_id, issuer_of_patient_id=issuer, is_identified=True).order_by(
        "person_number"
    )


def patient_for(patient_id: str, issuer: str, *, key: Sequence[str]) -> Patient:
    """The patient for some demographics: of several persons under one PatientID the one that they match.

    Where they match none, or more than one, it is the first person; ``recheck_patient`` then finds the contradiction.
    """
    persons = list(persons_under(patient_id, issuer).select_for_update(no_key=True))
    if not persons:
        return Patient.objects.create(patient_id=patient_id, issuer_of_patient_id=issuer)
    fitting = [each for each in persons if any(key) and not any(differ(key, known) for known in keys_of(each))]
    named = [each for each in fitting if keys_of(each)]
    return (named or fitting or persons)[0]


def copy_demographics(source: Demographics, target: Demographics) -> bool:
    """Copy the demographics of one row to another, which the caller saves; return whether they differed."""
    changed = [name for name in DEMOGRAPHICS if getattr(source, name) != getattr(target, name)]
    for name in changed:
        setattr(target, name, getattr(source, name))
    return bool(changed)


def attach(study: Study, patient: Patient) -> None:
    """Assign a study to a patient."""
    if study.patient_id != patient.pk:
        study.patient = patient
        study.save(update_fields=["patient"])


def keys_of(patient: Patient) -> list[DemographicsKey]:
    """The distinct keys of a patient's studies that are not withdrawn."""
    studies = Study.objects.filter(patient=patient, withdrawn__isnull=True, demographics_key__isnull=False)
    keys = studies.order_by("demographics_key").values_list("demographics_key", flat=True).distinct()
    return [key for key in keys if key is not None]


def recheck_patient(patient: Patient, *, by: Actor) -> None:
    """Open a conflict where the patient's studies contradict each other; close the open one where they no longer do."""
    keys = keys_of(patient) if patient.is_identified else []
    decided = [*_decided(patient=patient), *_decided(decision__divided__contains=[str(patient.pk)])]
    groups = [group for each in decided for group in _accepted_groups(each)]
    contradicting = any_differ(keys) and any(
        differ(one, other) and not any(_fits(one, group) and _fits(other, group) for group in groups)
        for number, one in enumerate(keys)
        for other in keys[number + 1 :]
    )
    _keep_open(DemographicsConflict.objects.filter(patient=patient), contradicting, {"patient": patient}, by)


def _accepted_groups(conflict: DemographicsConflict) -> list[list[DemographicsKey]]:
    """The groups of keys that a user accepted as demographics of one person each."""
    return [conflict.decision.get("keys", []), *conflict.decision.get("groups", [])]


def _fits(key: Sequence[str], group: Sequence[Sequence[str]]) -> bool:
    return any(not differ(key, each) for each in group)


def recheck_study(study: Study, *, by: Actor) -> None:
    """As ``recheck_patient``, for the images of one study."""
    own = own_placeholders()
    variants = [
        variant
        for variant in {variant_of(each, own) for each in instances_with_demographics(study)}
        if not _is_set_aside(study, variant)
    ]
    contradicting = any(
        one.contradicts(other) and not _are_accepted(study, [one, other])
        for number, one in enumerate(variants)
        for other in variants[number + 1 :]
    )
    _keep_open(DemographicsConflict.objects.filter(study=study), contradicting, {"study": study}, by)


def _are_accepted(study: Study, variants: Sequence[Variant]) -> bool:
    """Whether a user decided that these variants are of one person."""
    return any(
        all(_is_among(variant, conflict.decision.get("variants", [])) for variant in variants)
        for conflict in _decided(study=study)
    )


def _is_among(variant: Variant, stored: Sequence[Sequence[Any]]) -> bool:
    return any(
        [variant.patient_id, variant.issuer] == [patient_id, issuer] and not differ(variant.key, key)
        for patient_id, issuer, key in stored
    )


def _is_set_aside(study: Study, variant: Variant) -> bool:
    """Whether a user decided that such images are of another person than the study."""
    return any(variant.stored in conflict.decision.get("set_aside", []) for conflict in _decided(study=study))


def _decided(**of: object) -> list[DemographicsConflict]:
    return list(DemographicsConflict.objects.filter(**of, settled__isnull=False, reopened__isnull=True))


def _keep_open(
    conflicts: "QuerySet[DemographicsConflict]", contradicting: bool, of: dict[str, Study | Patient], by: Actor
) -> None:
    unsettled = conflicts.filter(settled__isnull=True)
    if contradicting and not unsettled.exists():
        conflict = DemographicsConflict.objects.create(**of)
        record(action=AuditEvent.Action.CONFLICT_OPENED, by=by, object_id=conflict.pk)
    elif not contradicting:
        for conflict in unsettled:
            conflict.settled = timezone.now()
            conflict.settlement = Settlement.NO_LONGER
            conflict.save(update_fields=["settled", "settlement"])
            record(action=AuditEvent.Action.CONFLICT_SETTLED, by=by, object_id=conflict.pk)
