"""How a hospital's radiologists read: the policy that its administrator sets."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob, Priority
from apps.registry import engine
from apps.studies.models import Study
from apps.tenants.fields import TenantForeignKey
from apps.tenants.models import TenantModel


class AiDisplay(models.TextChoices):
    """What of the AI a reader sees when a study is opened."""

    OFF = "off", _("Findings at once, the overlay when asked for")
    ON = "on", _("Findings at once, with the overlay of the first flagged finding")
    BLIND_FIRST = "blind-first", _("Nothing before the reader has committed an impression")


class Language(models.TextChoices):
    ENGLISH = "en", "English"
    GERMAN = "de", "Deutsch"
    SPANISH = "es", "Español"


URGENCY: tuple[str, ...] = (
    "Pneumothorax",
    "Consolidation",
    "Pneumonia",
    "Edema",
    "Effusion",
    "Mass",
    "Nodule",
    "Cardiomegaly",
    "Atelectasis",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Infiltration",
    "Hernia",
)
"""The order of the worklist where a tenant sets none: the first finding is the most urgent one."""


def default_urgency() -> list[str]:
    return list(URGENCY)


def server_time_zone() -> str:
    return settings.TIME_ZONE


class ReadingPolicy(TenantModel):
    """A tenant's policy. A tenant without a row reads by the defaults."""

    ai_display = models.CharField(
        _("AI when a study is opened"), max_length=12, choices=AiDisplay, default=AiDisplay.OFF
    )
    urgency = models.JSONField(
        default=default_urgency, help_text=_("Labels of the findings, the most urgent one first.")
    )
    waiting_cap = models.PositiveIntegerField(
        _("Longest wait in minutes"),
        default=120,
        help_text=_("A study that has waited longer is listed before those that the AI puts first."),
    )
    discordances_a_day = models.PositiveSmallIntegerField(
        _("Findings to review a day"),
        default=10,
        db_default=10,
        validators=[MaxValueValidator(500)],
        help_text=_("How many findings on which signed report and AI differ are listed for review of each day."),
    )
    sign_with_password = models.BooleanField(_("Ask for the password at the signature"), default=False)
    language = models.CharField(
        _("Language"),
        max_length=5,
        choices=Language,
        default=Language.ENGLISH,
        help_text=_("Of the reports, and of the pages of those who chose none for themselves."),
    )
    time_zone = models.CharField(_("Time zone"), max_length=64, default=server_time_zone)
    letterhead = models.TextField(
        _("Letterhead"),
        max_length=500,
        blank=True,
        help_text=_("What stands at the top of each report, such as the name and address of the department."),
    )
    changed = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant"], name="reading_one_policy_per_tenant"),
        ]

    def __str__(self) -> str:
        return f"Reading policy {self.pk}"


class TextBlock(TenantModel):
    """A text that readers insert into an impression: a phrase or a whole report."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Whose own text it is; empty for a text of all readers of the hospital.",
    )
    name = models.CharField(
        _("Name"), max_length=30, help_text=_("What is typed after a full stop, such as normal for .normal and Tab.")
    )
    text = models.TextField(_("Text"), max_length=4000)
    changed = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(
                fields=["tenant", "owner", "name"], name="reading_one_text_of_a_name", nulls_distinct=False
            ),
        ]
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return f".{self.name}"


WAITING = "waiting"
"""A study that was not read yet: it has no job, or its latest one is open."""

UNSIGNED = Q(report_status="")
# Conditions of indexes, which a query must repeat as they are.
STAT_REQUESTED = Q(requested_priority__gte=Priority.STAT) | Q(chosen_priority__gte=Priority.STAT)


class WorklistEntry(TenantModel):
    """What lists of studies filter and sort by, in one row per study.

    Triggers write it in the transactions that change a study, its jobs, images, conflicts or reports, and by any role
    (`reading/migrations/0005_entries_follow.py`): a list then needs no latest job or report of every study. Its id is
    that of the study. Only ``chosen_priority`` and ``assigned_to`` are set by people and exist nowhere else.
    """

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="entries")
    job = TenantForeignKey(InferenceJob, null=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(
        max_length=10, db_default=WAITING, help_text="That of the latest job; waiting while it is open or missing."
    )
    received = models.DateTimeField()
    study_date = models.DateField(null=True)
    is_withdrawn = models.BooleanField(db_default=False)
    in_conflict = models.BooleanField(db_default=False)
    search_text = models.TextField(help_text="Name groups, patient ID and accession number, as names are compared.")
    flagged = ArrayField(models.CharField(max_length=40), db_default=[], help_text="Labels of the flagged findings.")
    probabilities = ArrayField(
        models.FloatField(null=True), null=True, help_text="Of the findings, in the order of `ml.labels.LABELS`."
    )
    top_probability = models.FloatField(null=True, help_text="That of the finding that the worklist names.")
    urgent_label = models.CharField(
        max_length=40, db_default="", help_text="The most urgent flagged finding; empty once a report is signed."
    )
    urgency = models.SmallIntegerField(null=True, help_text="Its place in the tenant's order: 1 is the most urgent.")
    margin = models.FloatField(null=True, help_text="How far it is above its operating point, as a logit difference.")
    is_partly_read = models.BooleanField(
        db_default=False, help_text="Complete, but for a stopped label, or by a version without operating points."
    )
    requested_priority = models.SmallIntegerField(db_default=Priority.ROUTINE, help_text="By the images' headers.")
    chosen_priority = models.SmallIntegerField(null=True, choices=Priority, help_text="By a person; it counts.")
    report_status = models.CharField(max_length=12, db_default="", help_text="Of the signed report; empty before it.")
    has_new_images = models.BooleanField(db_default=False, help_text="Images arrived after the signature.")
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    news_at = models.DateTimeField(help_text="When the study arrived, or its latest reading ended.")
    changed = models.DateTimeField(help_text="When this row last changed: a page asks whether it must be built anew.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "study"], name="reading_one_entry_per_study"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-received", "-study"], name="reading_entry_newest"),
            models.Index(fields=["tenant", "study_date", "study"], name="reading_entry_by_study_date"),
            models.Index(
                fields=["tenant", "top_probability", "study"],
                condition=Q(top_probability__isnull=False),
                name="reading_entry_by_probability",
            ),
            models.Index(fields=["tenant", "-changed"], name="reading_entry_changed"),
            models.Index(fields=["tenant", "-received"], condition=UNSIGNED, name="reading_entry_unsigned"),
            models.Index(fields=["tenant", "-received"], condition=~UNSIGNED, name="reading_entry_signed"),
            models.Index(fields=["tenant"], condition=UNSIGNED & STAT_REQUESTED, name="reading_entry_stat"),
            models.Index(fields=["tenant", "status", "-received"], name="reading_entry_by_status"),
            models.Index(
                fields=["tenant", "-received"], condition=Q(has_new_images=True), name="reading_entry_new_images"
            ),
            models.Index(fields=["tenant", "-received"], condition=Q(in_conflict=True), name="reading_entry_conflict"),
            models.Index(
                fields=["tenant", "assigned_to", "-received"],
                condition=Q(assigned_to__isnull=False),
                name="reading_entry_assigned",
            ),
            # Row-level security keeps an index on the array from being used, but not the condition of an index.
            *[
                models.Index(
                    fields=["tenant", "-received"],
                    condition=Q(flagged__contains=[label]),
                    name=f"flagged_{label.lower()}",
                )
                for label in engine.LABELS
            ],
        ]

    def __str__(self) -> str:
        return f"Entry {self.pk}"

    @property
    def state(self) -> str:
        """The state of the latest job, or that there is none."""
        return self.job.state if self.job is not None else "received"

    @property
    def priority(self) -> int:
        return self.requested_priority if self.chosen_priority is None else self.chosen_priority

    @property
    def is_stat(self) -> bool:
        return self.priority == Priority.STAT

    @property
    def is_complete(self) -> bool:
        return self.status == JobState.COMPLETE


class OpenedStudy(TenantModel):
    """When a person last opened a study. Without a row, or with an older one than the news, the study is unread."""

    study = TenantForeignKey(Study, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    at = models.DateTimeField(auto_now=True)

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "user", "study"], name="reading_opened_once_per_user"),
        ]

    def __str__(self) -> str:
        return f"Opened {self.study_id}"


class SavedView(TenantModel):
    """A person's named filters and order of the worklist. The search text is not kept: it may name a patient."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=60)
    address = models.CharField(max_length=400, blank=True, help_text="The query string of the worklist.")

    class Meta(TenantModel.Meta):
        constraints: ClassVar = [
            *TenantModel.Meta.constraints,
            models.UniqueConstraint(fields=["tenant", "user", "name"], name="reading_one_view_of_name"),
        ]
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name
