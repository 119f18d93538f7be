"""Patient, Study, Series, Instance (DICOM PS3.3 A.1.2), by the names that the standard gives their attributes."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Collate
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.studies.names import PersonName
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class Patient(TenantModel):
    """The identity of a patient, and nothing else. The demographics are stored with each study.

    A placeholder PatientID identifies no person: each study with one has a patient row of its own. Where a user decided
    that several persons share one PatientID, each has a ``person_number``.
    """

    patient_id = models.CharField(max_length=64, blank=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)
    is_identified = models.BooleanField(default=True, db_default=True)
    person_number = models.PositiveSmallIntegerField(default=0, db_default=0)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "issuer_of_patient_id", "patient_id", "person_number"],
                condition=models.Q(is_identified=True),
                name="studies_patient_identity",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "patient_id"], name="studies_patient_by_id")]

    def __str__(self) -> str:
        return f"Patient {self.pk}"


class Demographics(models.Model):
    """The demographics that an image states. A null key: the row is older than these columns and not yet filled."""

    patient_name = models.CharField(
        max_length=324, blank=True, default="", db_default="", help_text="The raw PN value."
    )
    patient_birth_date = models.DateField(null=True)
    patient_sex = models.CharField(max_length=16, blank=True, default="", db_default="")
    patient_age = models.CharField(max_length=16, blank=True, default="", db_default="")
    demographics_key = ArrayField(
        models.TextField(), null=True, help_text="What demographics are compared by: see apps.studies.identity."
    )

    class Meta:
        abstract = True

    @property
    def is_filled(self) -> bool:
        return self.demographics_key is not None

    @property
    def display_name(self) -> str:
        """The name in one line, as worklists show it."""
        return self._readable(PersonName.parse(self.patient_name).short)

    @property
    def full_name(self) -> str:
        """The name with its ideographic form where it has both, as reports show it."""
        return self._readable(PersonName.parse(self.patient_name).full)

    def _readable(self, name: str) -> str:
        if not self.is_filled:
            return gettext("Name not verified")
        return name or gettext("Unnamed")


class Study(Demographics, TenantModel):
    """A study. Its demographics are those of the image that was read, unless a user entered others."""

    patient = TenantForeignKey(Patient, on_delete=models.PROTECT, related_name="studies")
    study_instance_uid = models.CharField(max_length=64)
    accession_number = models.CharField(max_length=64, blank=True)
    study_id = models.CharField(max_length=64, blank=True)
    study_date = models.DateField(null=True)
    study_time = models.TimeField(null=True)
    study_description = models.CharField(max_length=255, blank=True)
    referring_physician_name = models.CharField(max_length=324, blank=True)
    received = models.DateTimeField(auto_now_add=True)
    patient_is_set = models.BooleanField(
        default=False, db_default=False, help_text="A person chose the patient: images no longer change it."
    )
    demographics_are_set = models.BooleanField(
        default=False,
        db_default=False,
        help_text="A person chose name, birth date and sex: images no longer change them.",
    )
    withdrawn = models.DateTimeField(null=True)
    withdrawn_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    withdrawn_reason = models.TextField(blank=True, default="", db_default="")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study_instance_uid"], name="studies_study_uid"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "accession_number"], name="studies_study_by_accession"),
            models.Index(fields=["tenant", "study_date"], name="studies_study_by_date"),
            models.Index(fields=["tenant", "patient_birth_date"], name="studies_study_by_birth_date"),
            # The collation lets an index find what begins with a text; few names have the second and third group.
            models.Index(F("tenant"), Collate(F("demographics_key__0"), "C"), name="studies_study_by_name"),
            *[
                models.Index(
                    F("tenant"),
                    Collate(F(f"demographics_key__{place}"), "C"),
                    condition=Q(**{f"demographics_key__{place}__gt": ""}),
                    name=name,
                )
                for place, name in ((1, "studies_study_by_ideographic"), (2, "studies_study_by_phonetic"))
            ],
        ]

    def __str__(self) -> str:
        return f"Study {self.pk}"

    @property
    def referrer(self) -> str:
        """Who referred the patient, as people write names; empty where the images do not say it."""
        return PersonName.parse(self.referring_physician_name).full


class Series(TenantModel):
    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="series")
    series_instance_uid = models.CharField(max_length=64)
    modality = models.CharField(max_length=16, blank=True)
    body_part_examined = models.CharField(max_length=64, blank=True)
    series_description = models.CharField(max_length=255, blank=True)
    series_number = models.CharField(max_length=16, blank=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study", "series_instance_uid"], name="studies_series_uid"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "modality", "study"], name="studies_series_by_modality"),
        ]

    def __str__(self) -> str:
        return f"Series {self.pk}"


class Instance(Demographics, TenantModel):
    """A DICOM instance, with the patient identity and demographics that it states.

    A held instance names another patient than its study. It is neither read nor shown before a user settles the
    conflict.
    """

    series = TenantForeignKey(Series, on_delete=models.CASCADE, related_name="instances")
    sop_instance_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    rows = models.PositiveIntegerField(null=True, help_text="Empty: an object without pixels to read, such as an SR.")
    columns = models.PositiveIntegerField(null=True)
    unreadable = models.CharField(
        max_length=60, blank=True, db_default="", help_text="Why the pixels of a well-formed image are never read."
    )
    view_position = models.CharField(max_length=16, blank=True)
    patient_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    issuer_of_patient_id = models.CharField(max_length=64, blank=True, default="", db_default="")
    is_held = models.BooleanField(default=False, db_default=False)
    attributes = models.JSONField(default=dict, help_text="Equipment and geometry by DICOM keyword; no patient data.")
    warnings = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    received = models.DateTimeField(auto_now_add=True)
    restored = models.DateTimeField(null=True, help_text="When its object, lost or damaged, was last sent again.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "sop_instance_uid"], name="studies_instance_uid"),
        ]

    def __str__(self) -> str:
        return f"Instance {self.pk}"

    @property
    def is_image(self) -> bool:
        return self.rows is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in pixels; 0 and 0 of an object without pixels."""
        return self.rows or 0, self.columns or 0

    @property
    def object_key(self) -> str:
        return object_key(self.tenant_id, self.sha256)


class ImageRejection(TenantModel):
    """The rejection of an image by a user, or by a Key Object Selection document (IHE RAD IOCM): it must not be used.

    It refers to the instance by its UID, because a document may arrive before the image that it rejects. A withdrawn
    rejection stays as a row.
    """

    class Code(models.TextChoices):
        """PS3.16 CID 7011, coding scheme DCM."""

        QUALITY = "113001", _("Rejected for quality reasons")
        SAFETY = "113037", _("Rejected for patient safety reasons")
        WORKLIST = "113038", _("Incorrect modality worklist entry")
        EXPIRED = "113039", _("Data retention policy expired")

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="image_rejections")
    sop_instance_uid = models.CharField(max_length=64)
    code = models.CharField(max_length=16, choices=Code)
    reason = models.TextField(blank=True)
    document = TenantForeignKey(Instance, null=True, on_delete=models.SET_NULL, related_name="+")
    rejected_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    actor = models.CharField(max_length=100, help_text="User, API client or peer, by its name.")
    at = models.DateTimeField(auto_now_add=True)
    withdrawn_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    withdrawn_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "study", "sop_instance_uid"],
                condition=models.Q(withdrawn_at__isnull=True),
                name="studies_one_rejection_of_image",
            ),
        ]

    def __str__(self) -> str:
        return f"Rejection {self.pk} {self.code}"


def object_key(tenant_id: Any, sha256: str) -> str:
    """The storage key of an object, by tenant and content, so that no key is ever overwritten with other bytes."""
    return f"t/{tenant_id}/{sha256}"


class DemographicsConflict(TenantModel):
    """Demographics that contradict each other: of the studies of one patient, or of the images of one study.

    At most one is open for a patient and for a study. A settled conflict stays as history; the decision of a reopened
    one is no longer in force.
    """

    class Settlement(models.TextChoices):
        SAME_PERSON = "same-person", _("Same person, corrected")
        DIFFERENT_PERSONS = "different-persons", _("Different persons")
        NO_LONGER = "no-longer", _("No longer contradicts")

    patient = TenantForeignKey(Patient, null=True, on_delete=models.PROTECT, related_name="conflicts")
    study = TenantForeignKey(Study, null=True, on_delete=models.CASCADE, related_name="conflicts")
    opened = models.DateTimeField(auto_now_add=True)
    settled = models.DateTimeField(null=True)
    settled_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    settlement = models.CharField(max_length=20, choices=Settlement, blank=True)
    reason = models.TextField(blank=True)
    decision = models.JSONField(
        default=dict, help_text="What was decided on: the keys and identities that were accepted, set aside or divided."
    )
    reopened = models.DateTimeField(null=True)
    reopened_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "patient"],
                condition=models.Q(settled__isnull=True, patient__isnull=False),
                name="studies_one_open_conflict_per_patient",
            ),
            models.UniqueConstraint(
                fields=["tenant", "study"],
                condition=models.Q(settled__isnull=True, study__isnull=False),
                name="studies_one_open_conflict_per_study",
            ),
            models.CheckConstraint(
                condition=models.Q(patient__isnull=True, study__isnull=False)
                | models.Q(patient__isnull=False, study__isnull=True),
                name="studies_conflict_of_a_patient_or_of_a_study",
            ),
        ]

    def __str__(self) -> str:
        return f"Conflict {self.pk} {self.settlement or 'open'}"


class StudyChange(TenantModel):
    """A change that a user made to a study: written once, never changed."""

    class Action(models.TextChoices):
        MOVED = "moved", _("Moved to another patient")
        DEMOGRAPHICS_SET = "demographics-set", _("Name, birth date and sex set")
        WITHDRAWN = "withdrawn", _("Withdrawn")
        RESTORED = "restored", _("Restored")

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="changes")
    action = models.CharField(max_length=20, choices=Action)
    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    class Meta(TenantModel.Meta):
        ordering: ClassVar = ["-at", "-id"]

    def __str__(self) -> str:
        return f"Change {self.pk} {self.action}"


class PlaceholderPatientID(TenantModel):
    """A placeholder PatientID that this tenant added to the common list."""

    value = models.CharField(max_length=64, help_text="As it was entered.")
    key = models.CharField(max_length=64, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "key"], name="studies_one_placeholder_per_key"),
        ]

    def __str__(self) -> str:
        return f"Placeholder {self.pk}"
