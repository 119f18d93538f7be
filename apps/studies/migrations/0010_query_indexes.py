"""Indexes for the searches that a PACS makes most: by accession number, and by the date of the study."""

from typing import ClassVar

from django.db import migrations, models

from apps.core.index_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("studies", "0009_store_named_columns")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "study", models.Index(fields=["tenant", "accession_number"], name="studies_study_by_accession")
        ),
        AddIndexConcurrently("study", models.Index(fields=["tenant", "study_date"], name="studies_study_by_date")),
    ]
