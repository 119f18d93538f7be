"""Indexes of the segments that lists of studies are read in (`apps.reading.order`)."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models import Q

from apps.core.index_operations import AddIndexConcurrently

LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("reading", "0008_entry_probabilities_filled")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "worklistentry",
            models.Index(fields=["tenant", "-received"], condition=~Q(report_status=""), name="reading_entry_signed"),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(
                fields=["tenant"],
                condition=Q(report_status="") & (Q(requested_priority__gte=2) | Q(chosen_priority__gte=2)),
                name="reading_entry_stat",
            ),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(fields=["tenant", "status", "-received"], name="reading_entry_by_status"),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(
                fields=["tenant", "-received"], condition=Q(has_new_images=True), name="reading_entry_new_images"
            ),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(fields=["tenant", "-received"], condition=Q(in_conflict=True), name="reading_entry_conflict"),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(
                fields=["tenant", "assigned_to", "-received"],
                condition=Q(assigned_to__isnull=False),
                name="reading_entry_assigned",
            ),
        ),
        *[
            AddIndexConcurrently(
                "worklistentry",
                models.Index(
                    fields=["tenant", "-received"],
                    condition=Q(flagged__contains=[label]),
                    name=f"flagged_{label.lower()}",
                ),
            )
            for label in LABELS
        ],
    ]
