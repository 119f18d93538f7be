"""The columns that all kinds of work have in common. Older columns and states keep their names in the database.

What counted all attempts and served as a fence is the fence; the failures in a row are the attempts.
"""

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
    dependencies: ClassVar = [("events", "0001_initial"), ("registry", "0020_models_of_other_apps")]
    lint_allows: ClassVar = {"type": "the table is small: a delivery for each change of a version and endpoint"}

    operations: ClassVar = [
        migrations.AddField(
            "WebhookDelivery", "priority", models.SmallIntegerField(db_default=0, default=0, help_text=HIGHER_FIRST)
        ),
        migrations.AddField(
            "WebhookDelivery", "is_suspect", models.BooleanField(db_default=False, default=False, help_text=SUSPECT)
        ),
        migrations.AddField(
            "WebhookDelivery", "waits", models.PositiveSmallIntegerField(db_default=0, default=0, help_text=WAITS)
        ),
        migrations.AddField("WebhookDelivery", "waiting_since", models.DateTimeField(help_text=SINCE, null=True)),
        migrations.AddField(
            "WebhookDelivery", "reason_code", models.CharField(blank=True, db_default="", max_length=60)
        ),
        migrations.AddField("WebhookDelivery", "worker", models.CharField(blank=True, db_default="", max_length=200)),
        migrations.AlterField("WebhookDelivery", "attempts", models.BigIntegerField(default=0)),
        migrations.AlterField("WebhookDelivery", "reason", models.TextField(blank=True)),
        migrations.AddIndex(
            "WebhookDelivery",
            models.Index(fields=["held_until"], condition=Q(state="running"), name="registry_deliveries_leased"),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex("WebhookDelivery", "registry_deliveries_due"),
                migrations.RemoveIndex("WebhookDelivery", "registry_deliveries_leased"),
                migrations.AlterField(
                    "WebhookDelivery",
                    "state",
                    RenamedStateField(stored_as={"queued": "waiting", "complete": "delivered", "failed": "dead"}),
                ),
                migrations.AlterField(
                    "WebhookDelivery", "attempts", models.BigIntegerField(db_column="attempts", default=0)
                ),
                migrations.RenameField("WebhookDelivery", "attempts", "fence"),
                migrations.AlterField(
                    "WebhookDelivery", "failures", models.PositiveIntegerField(db_column="failures", default=0)
                ),
                migrations.RenameField("WebhookDelivery", "failures", "attempts"),
                migrations.AlterField(
                    "WebhookDelivery", "held_until", models.DateTimeField(db_column="held_until", null=True)
                ),
                migrations.RenameField("WebhookDelivery", "held_until", "lease_until"),
                migrations.AlterField(
                    "WebhookDelivery", "next_attempt", models.DateTimeField(db_column="next_attempt", db_default=Now())
                ),
                migrations.RenameField("WebhookDelivery", "next_attempt", "run_after"),
                migrations.AlterField("WebhookDelivery", "created", models.DateTimeField(auto_now_add=True)),
                migrations.AddIndex(
                    "WebhookDelivery",
                    models.Index(condition=Q(state="queued"), fields=["run_after"], name="registry_deliveries_due"),
                ),
                migrations.AddIndex(
                    "WebhookDelivery",
                    models.Index(
                        condition=Q(state="running"), fields=["lease_until"], name="registry_deliveries_leased"
                    ),
                ),
            ],
        ),
    ]
