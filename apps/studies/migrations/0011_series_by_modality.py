"""Searches by modality, which the studies of one modality in a large archive would make long otherwise."""

from typing import ClassVar

from django.db import migrations, models

from apps.core.index_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("studies", "0010_query_indexes")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "series", models.Index(fields=["tenant", "modality", "study"], name="studies_series_by_modality")
        ),
    ]
