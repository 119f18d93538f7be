"""Services by which users correct a study: assign another patient, withdraw it, restore it. All can be undone."""

import datetime
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.studies.conflicts import (
    DEMOGRAPHICS,
    attach,
    copy_demographics,
    instances_with_demographics,
    keys_of,
    own_placeholders,
    patient_for,
    persons_under,
    recheck_patient,
)
from apps.studies.identity import demographics_key, differ, is_placeholder
from apps.studies.models import DemographicsConflict, Patient, Study, StudyChange
from apps.studies.settlement import MAY_SETTLE, clean_reason
from apps.tenants.models import Membership
from apps.tenants.services import require_role

Action = StudyChange.Action


@dataclass(frozen=True)
class ChosenDemographics:
    """Demographics that a user entered for a study; they replace those that its images state."""

    name: str
    birth_date: datetime.date | None
    sex: str


def move_study(
    *,
    study_id: UUID,
    patient_id: str,
    issuer: str,
    person_id: UUID | None,
    demographics: ChosenDemographics | None,
    reason: str,
    user: User,
    membership: Membership | None,
) -> Study:
    """Assign a study to another patient, or to a new one; its images no longer change that.

    The user thereby decides that the study's demographics are of that patient, so this opens no conflict there.

    Args:
        person_id: which of several persons that share the PatientID; None takes the one that the demographics match,
            or creates the patient where there is none.
        demographics: the study's demographics from now on; None leaves them as the images state them.

    Raises:
        NotPermittedError, NotFoundError
        InvalidInputError: the PatientID identifies no person; there is no reason.
        ConflictError: the study is that patient's already and nothing else changes.
    """
    require_role(membership, *MAY_SETTLE)
    reason = clean_reason(reason)
    if is_placeholder(patient_id, own_placeholders()):
        raise InvalidInputError(
            _("This PatientID stands for a missing one: enter the patient's own."), "placeholder-id"
        )
    with transaction.atomic():
        study = _locked(study_id)
        before, former = patient_snapshot(study), study.patient
        if demographics is not None:
            _choose(study, demographics)
        target = _target(patient_id, issuer, person_id, study)
        attach(study, target)
        study.patient_is_set = True
        study.save(update_fields=["patient_is_set", "demographics_are_set", *DEMOGRAPHICS])
        if patient_snapshot(study) == before:
            raise ConflictError(_("The study belongs to this patient already."), "study-not-moved")
        _change(study, Action.MOVED, user, reason, before)
        record(action=AuditEvent.Action.STUDY_MOVED, by=user_actor(user.pk), object_id=study.pk)
        _accept_as_moved(study, target, user, reason)
        for patient in (former, target):
            recheck_patient(patient, by=user_actor(user.pk))
    return study


def follow_images(*, study_id: UUID, reason: str, user: User, membership: Membership | None) -> Study:
    """Undo ``move_study``: the study gets the patient and the demographics that its images state.

    Raises:
        NotPermittedError, NotFoundError
        ConflictError: no user assigned the patient, or it is not known what the images state.
        InvalidInputError: there is no reason.
    """
    require_role(membership, *MAY_SETTLE)
    reason = clean_reason(reason)
    with transaction.atomic():
        study = _locked(study_id)
        image = instances_with_demographics(study).filter(is_held=False).first()
        if not study.patient_is_set or image is None:
            raise ConflictError(_("This study follows its images already."), "study-not-moved")
        before, former = patient_snapshot(study), study.patient
        copy_demographics(image, study)
        study.patient_is_set = study.demographics_are_set = False
        study.save(update_fields=["patient_is_set", "demographics_are_set", *DEMOGRAPHICS])
        attach(study, _patient_of_images(study, image.patient_id, image.issuer_of_patient_id))
        _change(study, Action.MOVED, user, reason, before)
        record(action=AuditEvent.Action.STUDY_MOVED, by=user_actor(user.pk), object_id=study.pk)
        for patient in (former, study.patient):
            recheck_patient(patient, by=user_actor(user.pk))
    return study


def mark_withdrawn(*, study_id: UUID, reason: str, user: User, membership: Membership | None) -> Study:
    """Withdraw a study from worklists and answers. Nothing of it is deleted; ``mark_restored`` undoes it.

    The caller ends its open jobs, in the same transaction: see ``apps.inference.withdrawal``.

    Raises:
        NotPermittedError, NotFoundError
        ConflictError: it is withdrawn already.
        InvalidInputError: there is no reason.
    """
    require_role(membership, *MAY_SETTLE)
    reason = clean_reason(reason)
    with transaction.atomic():
        study = _locked(study_id)
        if study.withdrawn is not None:
            raise ConflictError(_("This study is withdrawn already."), "study-withdrawn")
        study.withdrawn, study.withdrawn_by, study.withdrawn_reason = timezone.now(), user, reason
        return _save_withdrawal(study, Action.WITHDRAWN, AuditEvent.Action.STUDY_WITHDRAWN, user, reason)


def mark_restored(*, study_id: UUID, user: User, membership: Membership | None) -> Study:
    """Undo the withdrawal of a study.

    Raises:
        NotPermittedError, NotFoundError
        ConflictError: it is not withdrawn.
    """
    require_role(membership, *MAY_SETTLE)
    with transaction.atomic():
        study = _locked(study_id)
        if study.withdrawn is None:
            raise ConflictError(_("This study is not withdrawn."), "study-not-withdrawn")
        study.withdrawn, study.withdrawn_by, study.withdrawn_reason = None, None, ""
        return _save_withdrawal(study, Action.RESTORED, AuditEvent.Action.STUDY_RESTORED, user, "")


def patient_snapshot(study: Study) -> dict[str, Any]:
    """The patient and the demographics of a study, in the form that ``StudyChange`` stores."""
    return {
        "patient": str(study.patient_id),
        "patient_id": study.patient.patient_id,
        "issuer": study.patient.issuer_of_patient_id,
        "name": study.patient_name,
        "birth_date": study.patient_birth_date.isoformat() if study.patient_birth_date else None,
        "sex": study.patient_sex,
    }


def _save_withdrawal(
    study: Study, action: StudyChange.Action, audited: AuditEvent.Action, user: User, reason: str
) -> Study:
    study.save(update_fields=["withdrawn", "withdrawn_by", "withdrawn_reason"])
    StudyChange.objects.create(study=study, action=action, by=user, reason=reason)
    record(action=audited, by=user_actor(user.pk), object_id=study.pk)
    recheck_patient(study.patient, by=user_actor(user.pk))
    return study


def _locked(study_id: UUID) -> Study:
    if not Study.objects.select_for_update(no_key=True).filter(pk=study_id).exists():
        raise NotFoundError(_("There is no such study in this hospital."), "study-not-found")
    # Read again after the lock: joined rows that were read while waiting for it may be outdated.
    return Study.objects.select_related("patient").get(pk=study_id)


def _choose(study: Study, chosen: ChosenDemographics) -> None:
    study.patient_name, study.patient_birth_date, study.patient_sex = chosen.name, chosen.birth_date, chosen.sex
    study.demographics_key = demographics_key(chosen.name, chosen.birth_date, chosen.sex)
    study.demographics_are_set = True


def _target(patient_id: str, issuer: str, person_id: UUID | None, study: Study) -> Patient:
    if person_id is None:
        return patient_for(patient_id, issuer, key=study.demographics_key or [])
    person = persons_under(patient_id, issuer).filter(pk=person_id).first()
    if person is None:
        raise NotFoundError(
            _("There is no such patient in this hospital. Look for the patient again."), "patient-not-found"
        )
    return person


def _patient_of_images(study: Study, patient_id: str, issuer: str) -> Patient:
    if is_placeholder(patient_id, own_placeholders()):
        return Patient.objects.create(patient_id=patient_id, issuer_of_patient_id=issuer, is_identified=False)
    return patient_for(patient_id, issuer, key=study.demographics_key or [])


def _change(study: Study, action: StudyChange.Action, user: User, reason: str, before: dict[str, Any]) -> None:
    StudyChange.objects.create(
        study=study, action=action, by=user, reason=reason, before=before, after=patient_snapshot(study)
    )


def _accept_as_moved(study: Study, target: Patient, user: User, reason: str) -> None:
    keys = keys_of(target)
    own = study.demographics_key or []
    if own and any(differ(own, key) for key in keys):
        DemographicsConflict.objects.create(
            patient=target,
            settled=timezone.now(),
            settled_by=user,
            settlement=DemographicsConflict.Settlement.SAME_PERSON,
            reason=reason,
            decision={"keys": keys},
        )
