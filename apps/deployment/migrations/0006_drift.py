"""Weekly figures of each version at each tenant, and what they are compared with."""

from typing import Any, ClassVar

import django.db.models.deletion
from django.db import migrations, models

from apps.core.identifiers import uuid7
from apps.tenants.rls import AppendOnly

SOURCES = [
    ("held-out", "Films held out of the version's training"),
    ("first-weeks", "First weeks at this hospital"),
    ("accepted", "Weeks that an administrator accepted"),
]


def _to(model: str, **options: Any) -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=model, **options)


def _id() -> models.UUIDField:
    return models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("deployment", "0005_change_plans")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="DriftReference",
            fields=[
                ("id", _id()),
                ("source", models.CharField(choices=SOURCES, max_length=20)),
                ("films", models.PositiveIntegerField()),
                (
                    "first_week",
                    models.DateField(help_text="The Monday of the first week that it is made of.", null=True),
                ),
                ("last_week", models.DateField(null=True)),
                ("data", models.JSONField(help_text="As `ml.evaluation.drift.Readings.as_reference`.")),
                ("reason", models.TextField(blank=True)),
                ("actor", models.CharField(max_length=100)),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("for_tenant", _to("tenants.tenant", null=True, help_text="Empty: for every tenant without one.")),
                ("model_version", _to("registry.modelversion")),
            ],
            options={"ordering": ["-id"]},
        ),
        AppendOnly("DriftReference"),
        migrations.CreateModel(
            name="DriftWeek",
            fields=[
                ("id", _id()),
                ("week", models.DateField(help_text="Its Monday, UTC.")),
                ("read", models.PositiveIntegerField()),
                ("refused", models.PositiveIntegerField()),
                ("views", models.JSONField(default=dict, help_text="{view position: films}")),
                (
                    "means",
                    models.JSONField(default=dict, help_text="{label: mean of the version's own probability}"),
                ),
                (
                    "flagged",
                    models.JSONField(default=dict, help_text="{label: share at the operating point of that time}"),
                ),
                (
                    "figures",
                    models.JSONField(default=list, help_text="What was compared with the reference, with p-values."),
                ),
                ("alarms", models.JSONField(default=list, help_text="The figures outside the control limits.")),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("for_tenant", _to("tenants.tenant")),
                ("model_version", _to("registry.modelversion", db_index=False)),
                ("reference", _to("deployment.driftreference", null=True)),
            ],
            options={
                "ordering": ["-week"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("for_tenant", "model_version", "week"), name="deployment_one_drift_week"
                    )
                ],
            },
        ),
        AppendOnly("DriftWeek"),
    ]
