"""Searches by the name of a patient, in each of its three groups, and by the birth date.

Keys from before they had a longest length are cut first, because an index takes 2,700 bytes at most.

The index by the time of arrival goes: lists read the rows of `apps.reading`.
"""

from typing import ClassVar

from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Collate

from apps.core.index_operations import AddIndexConcurrently
from apps.tenants.rls import ChangeInBatches

# `_LONGEST_KEY` of `apps.studies.names`. What was stored before that limit may be too long for an index.
LONGEST_KEY = 400


def cut_keys(table: str) -> ChangeInBatches:
    """Cut the names of the keys to the length that new ones have, in the images too, which studies are compared with."""
    cut = ", ".join(f"rtrim(left(demographics_key[{place}], {LONGEST_KEY}), '^')" for place in (1, 2, 3))
    is_long = " or ".join(f"length(demographics_key[{place}]) > {LONGEST_KEY}" for place in (1, 2, 3))
    return ChangeInBatches(
        [table],
        by=table,
        statement=f"update {table} set demographics_key = array[{cut}] || demographics_key[4:] "  # noqa: S608
        f"where id = any(%(ids)s) and ({is_long})",
    )


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("studies", "0011_series_by_modality")]

    operations: ClassVar = [
        cut_keys("studies_study"),
        cut_keys("studies_instance"),
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
