"""The columns that all kinds of work have in common. Older columns and states keep their names in the database."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

from apps.core.work_queue import RenamedStateField

HIGHER_FIRST = "Higher goes first."
SUSPECT = "A worker died while it held this: it is claimed alone."
WAITS = "How often in a row it went back to the queue without a spent attempt."
SINCE = "When the outage began that it waits for."


class Migration(migrations.Migration):
    dependencies: ClassVar = [("evaluation", "0001_initial"), ("registry", "0020_models_of_other_apps")]
    lint_allows: ClassVar = {"type": "the table has few rows: one for each time that an operator asked for one"}

    operations: ClassVar = [
        migrations.AddField(
            "EvaluationJob", "priority", models.SmallIntegerField(db_default=0, default=0, help_text=HIGHER_FIRST)
        ),
        migrations.AddField(
            "EvaluationJob", "is_suspect", models.BooleanField(db_default=False, default=False, help_text=SUSPECT)
        ),
        migrations.AddField(
            "EvaluationJob", "waits", models.PositiveSmallIntegerField(db_default=0, default=0, help_text=WAITS)
        ),
        migrations.AddField("EvaluationJob", "waiting_since", models.DateTimeField(help_text=SINCE, null=True)),
        migrations.AddField("EvaluationJob", "reason_code", models.CharField(blank=True, db_default="", max_length=60)),
        migrations.AlterField("EvaluationJob", "worker", models.CharField(blank=True, db_default="", max_length=200)),
        migrations.AlterField("EvaluationJob", "fence", models.BigIntegerField(default=0)),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("EvaluationJob", "registry_one_open_evaluation"),
                migrations.RemoveConstraint("EvaluationJob", "registry_ended_evaluation_has_a_reason"),
                migrations.AlterField(
                    "EvaluationJob", "state", RenamedStateField(stored_as={"queued": "waiting", "rejected": "refused"})
                ),
                migrations.AlterField(
                    "EvaluationJob", "lease_expires", models.DateTimeField(db_column="lease_expires", null=True)
                ),
                migrations.RenameField("EvaluationJob", "lease_expires", "lease_until"),
                migrations.AlterField(
                    "EvaluationJob", "not_before", models.DateTimeField(db_column="not_before", db_default=Now())
                ),
                migrations.RenameField("EvaluationJob", "not_before", "run_after"),
                migrations.AddConstraint(
                    "EvaluationJob",
                    models.UniqueConstraint(
                        condition=Q(state__in=("queued", "running")),
                        fields=("evaluation_set", "model_version"),
                        name="registry_one_open_evaluation",
                    ),
                ),
                migrations.AddConstraint(
                    "EvaluationJob",
                    models.CheckConstraint(
                        condition=~Q(state__in=["rejected", "failed"]) | ~Q(reason=""),
                        name="registry_ended_evaluation_has_a_reason",
                    ),
                ),
            ],
        ),
    ]
