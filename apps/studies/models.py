"""Patient, Study, Series, Instance (DICOM PS3.3 A.1.2), by the names that the standard gives their attributes."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class Patient(TenantModel):
    patient_id = models.CharField(max_length=64, blank=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)
    patient_name = models.CharField(max_length=324, blank=True)
    patient_birth_date = models.DateField(null=True)
    patient_sex = models.CharField(max_length=16, blank=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            # Films without a PatientID are nobody's twin: each study has a patient of its own.
            models.UniqueConstraint(
                fields=["tenant", "issuer_of_patient_id", "patient_id"],
                condition=~models.Q(patient_id=""),
                name="studies_patient_identity",
            ),
        ]

    def __str__(self) -> str:
        return f"Patient {self.pk}"

    @property
    def display_name(self) -> str:
        """The name as people read it: the first component group, family name first (PS3.5 6.2.1)."""
        parts = [part.strip() for part in self.patient_name.split("=")[0].split("^")]
        family, given = [*parts, "", ""][:2]
        return ", ".join(part for part in (family, given) if part) or "Unnamed"


class Study(TenantModel):
    patient = TenantForeignKey(Patient, on_delete=models.PROTECT, related_name="studies")
    study_instance_uid = models.CharField(max_length=64)
    accession_number = models.CharField(max_length=64, blank=True)
    study_id = models.CharField(max_length=64, blank=True)
    study_date = models.DateField(null=True)
    study_time = models.TimeField(null=True)
    study_description = models.CharField(max_length=255, blank=True)
    referring_physician_name = models.CharField(max_length=324, blank=True)
    patient_age = models.CharField(max_length=16, blank=True)
    received = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study_instance_uid"], name="studies_study_uid"),
        ]
        indexes: ClassVar = [models.Index(fields=["tenant", "-received"], name="studies_study_latest")]

    def __str__(self) -> str:
        return f"Study {self.pk}"


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

    def __str__(self) -> str:
        return f"Series {self.pk}"


class Instance(TenantModel):
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
    attributes = models.JSONField(default=dict, help_text="Equipment and geometry by DICOM keyword; no patient data.")
    warnings = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    received = models.DateTimeField(auto_now_add=True)

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
    """An image of a study is not to be used: a person said so, or a Key Object Selection document (IHE RAD IOCM).

    It names the instance by its UID, because a document may come before the image that it rejects. A rejection that was
    taken back stays as a row.
    """

    class Code(models.TextChoices):
        """PS3.16 CID 7011, coding scheme DCM."""

        QUALITY = "113001", "Rejected for quality reasons"
        SAFETY = "113037", "Rejected for patient safety reasons"
        WORKLIST = "113038", "Incorrect modality worklist entry"
        EXPIRED = "113039", "Data retention policy expired"

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
    """Where an object lives: by tenant and content, so that a key is never written twice with other bytes."""
    return f"t/{tenant_id}/{sha256}"
