"""The columns that all kinds of work have in common. The column ``attempt`` keeps its name in the database."""

from typing import ClassVar

from django.db import migrations, models

from apps.tenants.rls import GrantColumns
from apps.tenants.roles import DISPATCH

SUSPECT = "A worker died while it held this: it is claimed alone."
READINGS = ("InferenceJob", "ShadowReading")


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("inference", "0009_challenger_of_deployment"),
        ("tenants", "0004_no_operator_is_a_member"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            "ShadowReading",
            "priority",
            models.SmallIntegerField(db_default=0, default=0, help_text="Higher goes first."),
        ),
        GrantColumns("ShadowReading", DISPATCH, select=("priority",)),
        *(
            operation
            for model in READINGS
            for operation in (
                migrations.AlterField(model, "worker", models.CharField(blank=True, db_default="", max_length=200)),
                migrations.AlterField(model, "reason_code", models.CharField(blank=True, db_default="", max_length=60)),
                migrations.AlterField(
                    model, "is_suspect", models.BooleanField(db_default=False, default=False, help_text=SUSPECT)
                ),
            )
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                operation
                for model in READINGS
                for operation in (
                    migrations.AlterField(
                        model, "attempt", models.PositiveSmallIntegerField(db_column="attempt", default=0)
                    ),
                    migrations.RenameField(model, "attempt", "attempts"),
                )
            ],
        ),
    ]
