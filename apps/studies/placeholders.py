"""Services for a tenant's placeholder PatientIDs, which it adds to the common list."""

from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError
from apps.studies.conflicts import attach, recheck_patient
from apps.studies.identity import is_placeholder, placeholder_key
from apps.studies.models import Patient, PlaceholderPatientID, Study
from apps.tenants.models import Membership, Role
from apps.tenants.services import require_role


def add_placeholder(*, value: str, user: User, membership: Membership | None) -> PlaceholderPatientID:
    """Declare a PatientID a placeholder. Each study that shares it gets a patient of its own.

    Raises:
        NotPermittedError: no administrator.
        InvalidInputError: the value has no letter or digit.
        ConflictError: it is on the tenant's or the common list already.
    """
    require_role(membership, Role.ADMIN)
    key = placeholder_key(value)
    if not key:
        raise InvalidInputError(gettext("Enter an ID with at least one letter or digit."), "placeholder-empty")
    if is_placeholder(value, {*PlaceholderPatientID.objects.values_list("key", flat=True)}):
        raise ConflictError(gettext("This ID is on the list already."), "placeholder-known")
    with transaction.atomic():
        placeholder = PlaceholderPatientID.objects.create(value=value.strip(), key=key, created_by=user)
        by = user_actor(user.pk)
        record(action=AuditEvent.Action.PLACEHOLDERS_CHANGED, by=by, object_id=placeholder.pk)
        known = Patient.objects.filter(is_identified=True).values_list("pk", "patient_id")
        for pk in [pk for pk, patient_id in known if placeholder_key(patient_id) == key]:
            separate(Patient.objects.select_for_update(no_key=True).get(pk=pk), by=by)
    return placeholder


def remove_placeholder(*, placeholder_id: UUID, user: User, membership: Membership | None) -> None:
    """Let a PatientID identify a person again, for studies that arrive from now on. Stored studies do not change.

    Raises:
        NotPermittedError, NotFoundError
    """
    require_role(membership, Role.ADMIN)
    removed, _ = PlaceholderPatientID.objects.filter(pk=placeholder_id).delete()
    if not removed:
        raise NotFoundError(gettext("This ID is not on the list."), "placeholder-not-found")
    record(action=AuditEvent.Action.PLACEHOLDERS_CHANGED, by=user_actor(user.pk), object_id=placeholder_id)


def separate(patient: Patient, *, by: Actor) -> None:
    """Give each study of a patient with a placeholder ID a patient of its own, except where a user assigned one."""
    for study in Study.objects.filter(patient=patient, patient_is_set=False).order_by("received", "id"):
        own = Patient.objects.create(
            patient_id=patient.patient_id, issuer_of_patient_id=patient.issuer_of_patient_id, is_identified=False
        )
        attach(study, own)
    recheck_patient(patient, by=by)
