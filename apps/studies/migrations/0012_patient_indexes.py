"""Searches by the name of a patient, in each of its three groups, and by the birth date.

The index by the time of arrival goes: lists read the rows of `apps.reading`.
"""

from typing import ClassVar

from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Collate

from apps.core.index_operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("studies", "0011_series_by_modality")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "study",
            models.Index(F("tenant"), Collate(F("demographics_key__0"), "C"), name="studies_study_by_name"),
        ),
        AddIndexConcurrently(
            "study",
            models.Index(
                F("tenant"), Collate(F("demographics_key__1"), "C"), condition=Q(demographics_key__1__gt=""),
                name="studies_study_by_ideographic",
            ),
        ),
        AddIndexConcurrently(
            "study",
            models.Index(
                F("tenant"), Collate(F("demographics_key__2"), "C"), condition=Q(demographics_key__2__gt=""),
                name="studies_study_by_phonetic",
            ),
        ),
        AddIndexConcurrently(
            "study", models.Index(fields=["tenant", "patient_birth_date"], name="studies_study_by_birth_date")
        ),
        RemoveIndexConcurrently("study", "studies_study_latest"),
        # Without figures about what a name begins with, a plan would expect few studies of any beginning.
        migrations.RunSQL("analyze studies_study", migrations.RunSQL.noop),
    ]  # fmt: skip
