"""A person decides about demographics that contradict each other, and may take that back."""

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

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
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

# Who knows the patient: those who took the image, those who read it, and those who keep the hospital's data.
MAY_SETTLE = (Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.ADMIN)
LONGEST_REASON = 1000


@dataclass
class Side:
    """What some of the studies, or some of a study's images, say of their patient."""

    key: DemographicsKey
    patient_id: str
    issuer: str
    name: str
    birth_date: Any
    sex: str
    studies: list[Study] = field(default_factory=list)
    images: int = 0
    is_held: bool = False


def sides_of(conflict: DemographicsConflict) -> list[Side]:
    """The different things that are said, the oldest first: by the patient's studies, or by the study's images."""
    found: dict[tuple[Any, ...], Side] = {}
    if conflict.patient_id is not None:
        studies = Study.objects.filter(
            patient=conflict.patient_id, withdrawn__isnull=True, demographics_key__isnull=False
        )
        for study in studies.select_related("patient").order_by("received", "id"):
            side = found.setdefault(tuple(study.demographics_key or ()), _side(study, study.patient))
            side.studies.append(study)
    elif conflict.study is not None:
        for instance in instances_with_demographics(conflict.study):
            said = (instance.patient_id, instance.issuer_of_patient_id, *(instance.demographics_key or ()))
            side = found.setdefault(said, _side(instance, instance))
            side.images += 1
            side.is_held = side.is_held or instance.is_held
    return list(found.values())


def _side(said: Study | Instance, identity: Patient | Instance) -> Side:
    return Side(
        key=list(said.demographics_key or []),
        patient_id=identity.patient_id,
        issuer=identity.issuer_of_patient_id,
        name=said.full_name,
        birth_date=said.patient_birth_date,
        sex=said.patient_sex,
    )


def differing_between(sides: Sequence[Side]) -> list[str]:
    """The DICOM keywords of what the sides contradict each other in."""
    found = ["PatientID"] if len({(side.patient_id, side.issuer) for side in sides}) > 1 else []
    return found + differing_attributes([side.key for side in sides])


def token_of(sides: Sequence[Side]) -> str:
    """Changes when anything is said that a person did not see when they decided."""
    said = [
        [*side.key, side.patient_id, side.issuer, side.images, [str(study.pk) for study in side.studies]]
        for side in sides
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


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
        settlement: ``same-person``: all that is said is of one person and was corrected. ``different-persons``: of a
            patient's studies, that they belong to several persons, each of whom becomes a patient; of a study's images,
            that some of them are of somebody else.
        choice: for ``different-persons`` one number for each of ``sides_of``: of studies the number of the person, of
            images 1 where they belong to the study and 0 where they do not.
        seen: ``token_of`` the sides that the person saw.

    Returns:
        the studies that have to be read again, because other images of them may be read now.

    Raises:
        NotPermittedError: no member of the hospital.
        NotFoundError: no such conflict.
        ConflictError: it is settled already, or something else is said by now.
        InvalidInputError: the choice does not fit the sides, or divides nothing; there is no reason.
    """
    require_role(membership, *MAY_SETTLE)
    reason = clean_reason(reason)
    with transaction.atomic():
        conflict = _locked(conflict_id)
        if conflict.settled is not None:
            raise ConflictError("This conflict is settled already. Reload the page.", "conflict-settled")
        sides = sides_of(conflict)
        if token_of(sides) != seen:
            raise ConflictError(
                "Something else has arrived meanwhile. Reload the page and look again.", "conflict-changed"
            )
        if settlement == Settlement.SAME_PERSON:
            conflict.decision = _accepted(sides)
        elif settlement == Settlement.DIFFERENT_PERSONS:
            _check(choice, sides)
            divide = _divide_patient if conflict.patient_id else _set_aside
            conflict.decision = divide(conflict, sides, choice)
        else:
            raise InvalidInputError("Choose whether this is one person or several.", "settlement-unknown")
        conflict.settlement, conflict.settled, conflict.settled_by = settlement, timezone.now(), user
        conflict.reason = reason
        conflict.save()
        by = actor_for(user)
        record(action=AuditEvent.Action.CONFLICT_SETTLED, by=by, object_id=conflict.pk)
        return _apply(conflict, by)


def reopen_conflict(*, conflict_id: UUID, user: User, membership: Membership | None) -> list[UUID]:
    """Take a decision back: what it changed is as before, and the conflict is open again. The decision stays on record.

    Returns:
        the studies that have to be read again.

    Raises:
        NotPermittedError, NotFoundError
        ConflictError: it is not settled, or was reopened before.
    """
    require_role(membership, *MAY_SETTLE)
    with transaction.atomic():
        conflict = _locked(conflict_id)
        if conflict.settlement not in (Settlement.SAME_PERSON, Settlement.DIFFERENT_PERSONS) or conflict.reopened:
            raise ConflictError("Only a decision that is in force can be taken back.", "conflict-not-settled")
        conflict.reopened, conflict.reopened_by = timezone.now(), user
        conflict.save(update_fields=["reopened", "reopened_by"])
        by = actor_for(user)
        record(action=AuditEvent.Action.CONFLICT_REOPENED, by=by, object_id=conflict.pk)
        _rejoin(conflict)
        return _apply(conflict, by)


def actor_for(user: User) -> Actor:
    return Actor(name=f"user:{user.pk}", user_id=user.pk)


def clean_reason(reason: str) -> str:
    """Raises InvalidInputError where a person gave no reason, or a very long one."""
    reason = reason.strip()
    if not reason:
        raise InvalidInputError("Say why: the reason is kept with the change.", "reason-missing")
    if len(reason) > LONGEST_REASON:
        raise InvalidInputError(f"Shorten the reason to {LONGEST_REASON} characters.", "reason-too-long")
    return reason


def _locked(conflict_id: UUID) -> DemographicsConflict:
    """The conflict, with its patient or study locked against instances that arrive meanwhile."""
    conflict = DemographicsConflict.objects.select_for_update(no_key=True).filter(pk=conflict_id).first()
    if conflict is None:
        raise NotFoundError("There is no such conflict in this hospital.", "conflict-not-found")
    if conflict.patient_id:
        Patient.objects.select_for_update(no_key=True).get(pk=conflict.patient_id)
    elif conflict.study_id:
        Study.objects.select_for_update(no_key=True).get(pk=conflict.study_id)
    return conflict


def _check(choice: Sequence[int], sides: Sequence[Side]) -> None:
    if len(choice) != len(sides):
        raise InvalidInputError("Say of each line to whom it belongs.", "choice-incomplete")
    if len(set(choice)) < 2:
        raise InvalidInputError("Different persons need at least two different answers.", "choice-divides-nothing")


def _stored(side: Side) -> list[Any]:
    return [side.patient_id, side.issuer, side.key]


def _accepted(sides: Sequence[Side]) -> dict[str, Any]:
    return {"keys": [side.key for side in sides], "variants": [_stored(side) for side in sides]}


def _divide_patient(conflict: DemographicsConflict, sides: Sequence[Side], choice: Sequence[int]) -> dict[str, Any]:
    """Give each further person a patient under the same PatientID. Whose study came first keeps the patient."""
    patient = conflict.patient
    assert patient is not None
    persons: dict[int, list[Side]] = defaultdict(list)
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
            moved = [study.pk for side in group for study in side.studies]
            Study.objects.filter(pk__in=moved).update(patient=person)
        decision["groups"].append([side.key for side in group])
    return decision


def _set_aside(conflict: DemographicsConflict, sides: Sequence[Side], choice: Sequence[int]) -> dict[str, Any]:
    """Hold the images that are of somebody else, and let the study belong to whom the others name."""
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
    """Undo what a decision moved."""
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
    """Hold, release and compare again what a decision is about; the studies that have to be read again."""
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
