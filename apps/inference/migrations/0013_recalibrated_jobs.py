"""Which recalibration the findings of a job were written with."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

HOW = "How the findings' probabilities and thresholds follow from the version's; empty: they are its own."


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0012_uncertain_and_abnormal"), ("deployment", "0004_recalibrations")]

    operations: ClassVar = [
        migrations.AddField(
            "InferenceJob",
            "recalibration",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="deployment.recalibration",
                db_index=False,
                # A constraint would be checked against the whole table; recalibrations are never deleted.
                db_constraint=False,
                help_text=HOW,
            ),
        ),
    ]
