"""Critical findings: a hospital's rules, the notices that follow from them, their trail, and the mails."""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.work_queue import JobState, Work
from apps.inference.models import InferenceJob
from apps.studies.models import Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import Membership, TenantModel


class CriticalRule(TenantModel):
    """When a finding is critical at this hospital, and how long the people who are notified first have."""

    label = models.CharField(_("Finding"), max_length=40)
    margin = models.PositiveSmallIntegerField(
        _("Percentage points above the operating point"),
        default=0,
        validators=[MaxValueValidator(99)],
        help_text=_("0: every flagged finding is critical."),
    )
    minutes = models.PositiveSmallIntegerField(
        _("Minutes until escalation"),
        default=15,
        validators=[MinValueValidator(1), MaxValueValidator(1440)],
        help_text=_("So long the people below have for the acknowledgement."),
    )
    is_active = models.BooleanField(_("In force"), default=True)
    changed = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "label"], name="critical_one_rule_per_label"),
        ]

    def __str__(self) -> str:
        return f"Critical rule {self.label}"


class RulePerson(TenantModel):
    """A member whom a rule names. The row ends with the membership."""

    class Step(models.TextChoices):
        FIRST = "first", _("Notified first")
        ESCALATION = "escalation", _("Notified at the escalation")

    rule = TenantForeignKey(CriticalRule, on_delete=models.CASCADE, related_name="people")
    member = TenantForeignKey(Membership, on_delete=models.CASCADE, related_name="+")
    step = models.CharField(max_length=12, choices=Step)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "rule", "member", "step"], name="critical_person_once_per_step"),
        ]

    def __str__(self) -> str:
        return f"{self.member_id} {self.step}"


class NoticeState(models.TextChoices):
    """open → escalated → acknowledged → closed; each but the last may be left out."""

    OPEN = "open", _("Open")
    ESCALATED = "escalated", _("Escalated")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    CLOSED = "closed", _("Closed")


WAITING = (NoticeState.OPEN, NoticeState.ESCALATED)


class Closing(models.TextChoices):
    """Why a notice was closed."""

    SIGNED = "signed", _("A radiologist signed the report")
    DISAGREED = "disagreed", _("A radiologist disagreed with the finding")
    REJECTED = "image-rejected", _("The image was rejected")
    WITHDRAWN = "study-withdrawn", _("The study was withdrawn")


class CriticalNotice(TenantModel):
    """One critical finding of a study that somebody has to acknowledge.

    A study has one notice of a label, however often it is read; after a rejection of the image it may have another one.
    ``due`` is when the dispatcher escalates it, or repeats it to the administrators.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="critical_notices")
    job = TenantForeignKey(InferenceJob, on_delete=models.CASCADE, related_name="+")
    label = models.CharField(max_length=40)
    rule = models.JSONField(help_text="The rule as it was: margin, minutes, and the users it named by step.")
    state = models.CharField(max_length=12, choices=NoticeState, default=NoticeState.OPEN)
    created = models.DateTimeField(default=timezone.now)
    due = models.DateTimeField(null=True)
    escalated_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    closed_at = models.DateTimeField(null=True)
    closing = models.CharField(max_length=20, choices=Closing, blank=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "study", "label"],
                condition=~Q(closing=Closing.REJECTED),
                name="critical_one_notice_of_a_finding",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=WAITING) | Q(due__isnull=False), name="critical_waiting_notice_is_due"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "state", "created"], name="critical_notice_by_state"),
            models.Index(fields=["due"], condition=Q(state__in=WAITING), name="critical_notice_due"),
        ]

    def __str__(self) -> str:
        return f"Critical notice {self.pk} {self.state}"


class NoticeMail(TenantModel, Work):
    """A mail that tells one person that notices wait. It names none: what waits is looked up when it is sent."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [*TenantModel.Meta.constraints]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "user", "-id"], name="critical_mail_of_user"),
            models.Index(fields=["run_after"], condition=Q(state=JobState.QUEUED), name="critical_mail_due"),
            models.Index(fields=["lease_until"], condition=Q(state=JobState.RUNNING), name="critical_mail_leased"),
        ]

    def __str__(self) -> str:
        return f"Mail {self.pk} {self.state}"


class NoticeEvent(TenantModel):
    """One step of a notice's trail, written once."""

    class Kind(models.TextChoices):
        NOTIFIED = "notified", _("Notified")
        ESCALATED = "escalated", _("Escalated to")
        REPEATED = "repeated", _("Reminded")
        ACKNOWLEDGED = "acknowledged", _("Acknowledged by")
        COMMUNICATED = "communicated", _("Communication added by")
        CLOSED = "closed", _("Closed")
        REOPENED = "reopened", _("Opened again")

    notice = TenantForeignKey(CriticalNotice, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=12, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Who was notified, or who acted.",
    )
    mail = TenantForeignKey(NoticeMail, null=True, on_delete=models.PROTECT, related_name="+")
    contact = models.CharField(max_length=200, blank=True, help_text="Whom the reader informed.")
    contact_at = models.DateTimeField(null=True)
    note = models.TextField(blank=True)
    closing = models.CharField(max_length=20, choices=Closing, blank=True)

    class Meta(TenantModel.Meta):
        ordering: ClassVar = ["at", "id"]
        indexes: ClassVar = [models.Index(fields=["tenant", "user", "notice"], name="critical_event_of_user")]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M}"


NOTIFYING = (NoticeEvent.Kind.NOTIFIED, NoticeEvent.Kind.ESCALATED, NoticeEvent.Kind.REPEATED)
