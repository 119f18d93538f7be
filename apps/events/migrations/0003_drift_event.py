from typing import ClassVar

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
]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("events", "0002_one_work_queue")]

    operations: ClassVar = [
        migrations.AlterField("ModelEvent", "type", models.CharField(choices=TYPES, max_length=40)),
    ]
