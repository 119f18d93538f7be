"""Services by which users settle a demographics conflict, and reopen it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.core.text import clean_text
from apps.studies.conflicts import (
    DEMOGRAPHICS,
    Settlement,
    attach,
    copy_demographics,
    hold_images,
    instances_with_demographics,
    own_placeholders,
    patient_for,
    persons_under,
    recheck_patient,
    recheck_study,
)
from apps.studies.identity import DemographicsKey, differing_attributes, is_placeholder
from apps.studies.models import DemographicsConflict, Instance, Patient, Study
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role

# All roles of a tenant: they took the image, read it, or are responsible for the hospital's data.
MAY_SETTLE = (Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.ADMIN)
LONGEST_REASON = 1000


@dataclass
class ConflictSide:
    """One of the contradicting sets of demographics, with the studies or images that state it."""

    key: DemographicsKey
    patient_id: str
    issuer: str
    name: str
    birth_date: Any
    sex: str
    studies: list[Study] = field(default_factory=list)
    images: int = 0
    is_held: bool = False


def sides_of(conflict: DemographicsConflict) -> list[ConflictSide]:
    """The contradicting sets of demographics, oldest first: of the patient's studies, or of the study's images."""
    found: dict[tuple[Any, ...], ConflictSide] = {}
    if conflict.patient_id is not None:
        studies = Study.objects.filter(
            patient=conflict.patient_id, withdrawn__isnull=True, demographics_key__isnull=False
        )
        for study in studies.select_related("patient").order_by("received", "id"):
            side = found.setdefault(tuple(study.demographics_key or ()), _side(study, study.patient))
            side.studies.append(study)
    elif conflict.study is not None:
        for instance in instances_with_demographics(conflict.study):
            stated = (instance.patient_id, instance.issuer_of_patient_id, *(instance.demographics_key or ()))
            side = found.setdefault(stated, _side(instance, instance))
            side.images += 1
            side.is_held = side.is_held or instance.is_held
    return list(found.values())


def _side(source: Study | Instance, identity: Patient | Instance) -> ConflictSide:
    return ConflictSide(
        key=list(source.demographics_key or []),
        patient_id=identity.patient_id,
        issuer=identity.issuer_of_patient_id,
        name=source.full_name,
        birth_date=source.patient_birth_date,
        sex=source.patient_sex,
    )


def differing_between(sides: Sequence[ConflictSide]) -> list[str]:
    """The DICOM keywords of the attributes in which the sides differ."""
    found = ["PatientID"] if len({(side.patient_id, side.issuer) for side in sides}) > 1 else []
    return found + differing_attributes([side.key for side in sides])


def token_of(sides: Sequence[ConflictSide]) -> str:
    """A digest of the sides. It changes when they change after a user has seen them."""
    content = [
        [*side.key, side.patient_id, side.issuer, side.images, [str(study.pk) for study in side.studies]]
        for side in sides
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def settle_conflict(
    *,
    conflict_id: UUID,
    settlement: str,
    choice: Sequence[int],
    seen: str,
    reason: str,
    user: User,
    membership: Membership | None,
) -> list[UUID]:
    """Decide about an open conflict.

    Args:
        settlement: ``same-person``: all sides are of one person whose data was corrected. ``different-persons``: a
            patient's studies belong to several persons, each of whom becomes a patient; or some of a study's images
            are of another person.
        choice: for ``different-persons`` one number for each of ``sides_of``: for studies the number of the person, for
            images 1 where they belong to the study and 0 where they do not.
        seen: ``token_of`` the sides that the user saw.

    Returns:
        The studies to read again, because other images of them may be read now.

    Raises:
        NotPermittedError: no member of the tenant.
        NotFoundError: no such conflict.
        ConflictError: it is settled already, or the sides have changed.
        InvalidInputError: the choice does not match the sides, or divides nothing; there is no reason.
    """
    require_role(membership, *MAY_SETTLE)
    reason = clean_reason(reason)
    with transaction.atomic():
        conflict = _locked(conflict_id)
        if conflict.settled is not None:
            raise ConflictError(_("This conflict is settled already. Reload the page."), "conflict-settled")
        sides = sides_of(conflict)
        if token_of(sides) != seen:
            raise ConflictError(
                _("A new image has arrived meanwhile. Reload the page and look again."), "conflict-changed"
            )
        if settlement == Settlement.SAME_PERSON:
            conflict.decision = _accepted(sides)
        elif settlement == Settlement.DIFFERENT_PERSONS:
            _check(choice, sides)
            divide = _divide_patient if conflict.patient_id else _set_aside
            conflict.decision = divide(conflict, sides, choice)
        else:
            raise InvalidInputError(_("Choose whether this is one person or several."), "settlement-unknown")
        conflict.settlement, conflict.settled, conflict.settled_by = settlement, timezone.now(), user
        conflict.reason = reason
        conflict.save()
        by = user_actor(user.pk)
        record(action=AuditEvent.Action.CONFLICT_SETTLED, by=by, object_id=conflict.pk)
        return _apply(conflict, by)


def reopen_conflict(*, conflict_id: UUID, user: User, membership: Membership | None) -> list[UUID]:
    """Undo a decision: its changes are reverted, and the conflict is open again. The decision stays on record.

    Returns:
        The studies to read again.

    Raises:
        NotPermittedError, NotFoundError
        ConflictError: it is not settled, or was reopened before.
    """
    require_role(membership, *MAY_SETTLE)
    with transaction.atomic():
        conflict = _locked(conflict_id)
        if conflict.settlement not in (Settlement.SAME_PERSON, Settlement.DIFFERENT_PERSONS) or conflict.reopened:
            raise ConflictError(_("Only a decision that is in force can be undone."), "conflict-not-settled")
        conflict.reopened, conflict.reopened_by = timezone.now(), user
        conflict.save(update_fields=["reopened", "reopened_by"])
        by = user_actor(user.pk)
        record(action=AuditEvent.Action.CONFLICT_REOPENED, by=by, object_id=conflict.pk)
        _rejoin(conflict)
        return _apply(conflict, by)


def clean_reason(reason: str) -> str:
    """The reason without spaces around it; raises InvalidInputError where it is empty or too long."""
    reason = clean_text(reason, name="reason", longest=LONGEST_REASON)
    if not reason:
        raise InvalidInputError(_("Enter a reason: it is kept with the change."), "reason-missing")
    return reason


def _locked(conflict_id: UUID) -> DemographicsConflict:
    """The conflict, with its patient or study locked against instances that arrive meanwhile."""
    conflict = DemographicsConflict.objects.select_for_update(no_key=True).filter(pk=conflict_id).first()
    if conflict is None:
        raise NotFoundError(_("There is no such conflict in this hospital."), "conflict-not-found")
    if conflict.patient_id:
        Patient.objects.select_for_update(no_key=True).get(pk=conflict.patient_id)
    elif conflict.study_id:
        Study.objects.select_for_update(no_key=True).get(pk=conflict.study_id)
    return conflict


def _check(choice: Sequence[int], sides: Sequence[ConflictSide]) -> None:
    if len(choice) != len(sides):
        raise InvalidInputError(_("Choose for each line to whom it belongs."), "choice-incomplete")
    if len(set(choice)) < 2:
        raise InvalidInputError(_("Different persons need at least two different answers."), "choice-divides-nothing")


def _stored(side: ConflictSide) -> list[Any]:
    return [side.patient_id, side.issuer, side.key]


def _accepted(sides: Sequence[ConflictSide]) -> dict[str, Any]:
    return {"keys": [side.key for side in sides], "variants": [_stored(side) for side in sides]}


def _divide_patient(
    conflict: DemographicsConflict, sides: Sequence[ConflictSide], choice: Sequence[int]
) -> dict[str, Any]:
    """Create a patient with the same PatientID for each further person. The first study's person keeps the patient."""
    patient = conflict.patient
    assert patient is not None
    persons: dict[int, list[ConflictSide]] = defaultdict(list)
    for side, number in zip(sides, choice, strict=True):
        persons[number].append(side)
    known = persons_under(patient.patient_id, patient.issuer_of_patient_id)
    highest = known.aggregate(highest=Max("person_number"))["highest"]
    decision: dict[str, Any] = {"divided": [], "groups": []}
    for number, group in persons.items():
        person = patient
        if number != choice[0]:
            highest += 1
            person = Patient.objects.create(
                patient_id=patient.patient_id, issuer_of_patient_id=patient.issuer_of_patient_id, person_number=highest
            )
            decision["divided"].append(str(person.pk))
            reassigned = [study.pk for side in group for study in side.studies]
            Study.objects.filter(pk__in=reassigned).update(patient=person)
        decision["groups"].append([side.key for side in group])
    return decision


def _set_aside(conflict: DemographicsConflict, sides: Sequence[ConflictSide], choice: Sequence[int]) -> dict[str, Any]:
    """Hold the images of another person, and assign the study to the patient that the other images name."""
    study = _study_of(conflict)
    kept = [side for side, number in zip(sides, choice, strict=True) if number]
    former_patient = str(study.patient_id)
    own = own_placeholders()
    named = next((side for side in kept if not is_placeholder(side.patient_id, own)), None)
    if named and not study.patient_is_set and named.patient_id != study.patient.patient_id:
        attach(study, patient_for(named.patient_id, named.issuer, key=named.key))
    return {
        **_accepted(kept),
        "set_aside": [_stored(side) for side, number in zip(sides, choice, strict=True) if not number],
        "former_patient": former_patient,
    }


def _study_of(conflict: DemographicsConflict) -> Study:
    assert conflict.study_id is not None
    return Study.objects.select_related("patient").get(pk=conflict.study_id)


def _rejoin(conflict: DemographicsConflict) -> None:
    """Assign the studies to the patient that they had before the decision."""
    decision = conflict.decision
    if conflict.patient_id:
        Study.objects.filter(patient__in=decision.get("divided", []), patient_is_set=False).update(
            patient=conflict.patient_id
        )
    elif decision.get("former_patient"):
        study = _study_of(conflict)
        if not study.patient_is_set:
            attach(study, Patient.objects.get(pk=decision["former_patient"]))


def _apply(conflict: DemographicsConflict, by: Actor) -> list[UUID]:
    """Update held images and conflicts after a decision; return the studies to read again."""
    if conflict.patient_id:
        for patient in Patient.objects.filter(pk__in=[conflict.patient_id, *conflict.decision.get("divided", [])]):
            recheck_patient(patient, by=by)
        return []
    study = _study_of(conflict)
    hold_images(study)
    first = instances_with_demographics(study).filter(is_held=False).first()
    if first is not None and not study.demographics_are_set and copy_demographics(first, study):
        study.save(update_fields=DEMOGRAPHICS)
    recheck_study(study, by=by)
    concerned = {str(study.patient_id), conflict.decision.get("former_patient", str(study.patient_id))}
    for patient in Patient.objects.filter(pk__in=concerned):
        recheck_patient(patient, by=by)
    return [study.pk]
