"""The orders by study date and by probability."""

from typing import ClassVar

from django.db import migrations, models

from apps.core.index_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("reading", "0009_entry_indexes")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "worklistentry",
            models.Index(fields=["tenant", "study_date", "study"], name="reading_entry_by_study_date"),
        ),
        AddIndexConcurrently(
            "worklistentry",
            models.Index(
                fields=["tenant", "top_probability", "study"],
                condition=models.Q(top_probability__isnull=False),
                name="reading_entry_by_probability",
            ),
        ),
    ]
