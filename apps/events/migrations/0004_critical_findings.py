from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

TYPES = [
    ("model.registered", "Registered"),
    ("model.verified", "Verified"),
    ("model.gate_failed", "Gate failed"),
    ("model.activated", "Put into service"),
    ("model.rolled_back", "Rolled back"),
    ("model.unpinned", "Back to the platform's version"),
    ("model.retired", "Retired"),
    ("model.drift", "Drift alarm"),
    ("result.critical", "Critical finding"),
]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("events", "0003_drift_event"), ("tenants", "0005_notice_seen")]

    operations: ClassVar = [
        migrations.AlterField("ModelEvent", "type", models.CharField(choices=TYPES, max_length=40)),
        migrations.AddField(
            "WebhookEndpoint",
            "for_tenant",
            models.ForeignKey(
                blank=True,
                help_text="Only events of this hospital; empty: those of all. Critical findings go to a hospital's own "
                "only.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
                verbose_name="hospital",
            ),
        ),
    ]
