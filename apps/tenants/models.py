"""Tenants, their members and their API keys."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.identifiers import uuid7
from apps.tenants.networks import clean_networks
from apps.tenants.scope import current_tenant_id

PLATFORM = "whole platform"
"""The display name of the scope of rows that belong to no single tenant."""


class Tenant(models.Model):
    """A hospital or practice. Its row carries no ``tenant_id``: it *is* the tenant."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    # PS3.5 6.2, VR AE: 16 characters at most, no backslash or control characters.
    ae_title = models.CharField(
        "AE title",
        max_length=16,
        unique=True,
        validators=[RegexValidator(r"^[A-Z0-9_\-]{1,16}$", "Use 1 to 16 of A-Z, 0-9, _ and -.")],
    )
    is_active = models.BooleanField(default=True)
    private_networks = models.CharField(
        max_length=1000,
        blank=True,
        default="",
        db_default="",
        help_text="Private networks that this hospital's destinations and DICOM peers may be in, such as 10.1.0.0/16, "
        "separated by commas. Empty: only public addresses. Allow none in which machines of the platform are.",
    )
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.private_networks = clean_networks(self.private_networks)


class TenantModel(models.Model):
    """Base class for a row that belongs to one tenant and is visible only in that tenant's transaction."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_index=False, default=current_tenant_id, editable=False, related_name="+"
    )

    class Meta:
        abstract = True
        # The target of the composite foreign keys.
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "id"], name="%(app_label)s_%(class)s_tenant_id_key")
        ]


class Role(models.TextChoices):
    RADIOLOGIST = "radiologist", _("Radiologist")
    TECHNOLOGIST = "technologist", _("Technologist")
    ADMIN = "admin", _("Administrator")


class Membership(TenantModel):
    """What a person may do in one hospital.

    An operator of the platform is a member of no hospital. The database holds this: ``user_is_staff`` is always false,
    and a foreign key ties it, together with the user, to ``accounts_user (id, is_staff)``.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    user_is_staff = models.BooleanField(default=False, db_default=False, editable=False)
    role = models.CharField(max_length=20, choices=Role)
    notice_seen = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="Number of the last ledger entry whose notice the person dismissed."
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "user"], name="tenants_membership_one_per_user"),
            models.CheckConstraint(condition=models.Q(user_is_staff=False), name="tenants_membership_no_operator"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class ApiScope(models.TextChoices):
    """What an API key may do."""

    STORE = "dicomweb.store", _("Store instances")
    QUERY = "dicomweb.query", _("Search for studies, series and instances")
    RETRIEVE = "dicomweb.retrieve", _("Get instances and images, with the results among them")
    READ = "studies.read", _("Read studies, findings and reports")
    FHIR = "fhir.read", _("Read studies, reports and findings as FHIR")
    PREDICT = "predict", _("Have images read that are not stored")
    WEBHOOKS = "webhooks.manage", _("Manage webhooks")


def all_scopes() -> list[str]:
    return list(ApiScope.values)


class ApiClient(TenantModel):
    """An API key. The secret is shown once and only its SHA-256 is stored: 256 random bits need no salt."""

    name = models.CharField(max_length=100)
    key_hash = models.CharField(max_length=64, editable=False)
    prefix = models.CharField(max_length=8, editable=False)
    scopes = models.JSONField(default=all_scopes)
    expires = models.DateTimeField(null=True, blank=True)
    revoked = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.PROTECT, related_name="+"
    )
    # Written once a minute at most: a PACS sends thousands of instances in that time.
    last_used = models.DateTimeField(null=True, editable=False)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "key_hash"], name="tenants_apiclient_key_hash"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AllowedOrigin(TenantModel):
    """A web origin whose pages may call DICOMweb from a browser, with an API key of this tenant."""

    origin = models.CharField(max_length=200)
    created = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "origin"], name="tenants_one_row_per_origin"),
        ]

    def __str__(self) -> str:
        return self.origin
