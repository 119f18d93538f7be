"""Recalibrations of a version's probabilities for one tenant; the ledger says which is in force since when."""

from typing import Any, ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.identifiers import uuid7
from apps.tenants.rls import AppendOnly

METHODS = [
    ("prevalence", "Declared prevalence"),
    ("verdicts", "Readers' verdicts"),
    ("own", "The version's own probabilities"),
]
FITS = "{label: {a: slope, b: offset}}; a label without keeps its own."
NUMBER = "Counted for each tenant and version."
EVIDENCE = "What each label's fit rests on, or why it has none."
REPLACES = "In force when this was previewed."
IN_FORCE = "In force from this entry on; empty: the version's own probabilities."
ACTS = [
    ("activated", "Put into service"),
    ("rolled-back", "Rolled back"),
    ("unpinned", "Back to the platform's version"),
    ("points", "Operating points changed"),
    ("retired", "Retired"),
    ("shadow", "Shadow started"),
    ("canary", "Canary started or changed"),
    ("challenge-ended", "Challenger ended"),
    ("recalibrated", "Probabilities recalibrated"),
]


def _to(model: str, **options: Any) -> "models.ForeignKey[Any, Any]":
    arguments: dict[str, Any] = {
        "on_delete": django.db.models.deletion.PROTECT,
        "related_name": "+",
        "to": model,
    } | options
    return models.ForeignKey(**arguments)


def _id() -> models.UUIDField:
    return models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("deployment", "0003_alarm_budget"),
        ("registry", "0020_models_of_other_apps"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Recalibration",
            fields=[
                ("id", _id()),
                ("number", models.PositiveIntegerField(help_text=NUMBER)),
                ("method", models.CharField(choices=METHODS, max_length=20)),
                ("fits", models.JSONField(default=dict, help_text=FITS)),
                ("evidence", models.JSONField(default=dict, help_text=EVIDENCE)),
                ("preview_json", models.TextField()),
                ("sha256", models.CharField(max_length=64)),
                ("actor", models.CharField(max_length=100)),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("by", _to(settings.AUTH_USER_MODEL, null=True)),
                ("for_tenant", _to("tenants.tenant")),
                ("model_version", _to("registry.modelversion")),
                ("replaces", _to("deployment.recalibration", null=True, help_text=REPLACES)),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("for_tenant", "model_version", "number"), name="deployment_one_recalibration_of_number"
                    )
                ],
            },
        ),
        AppendOnly("Recalibration"),
        migrations.CreateModel(
            name="AppliedRecalibration",
            fields=[
                ("id", _id()),
                ("since", models.DateTimeField(auto_now=True)),
                ("for_tenant", _to("tenants.tenant", db_index=False)),
                ("model_version", _to("registry.modelversion")),
                ("recalibration", _to("deployment.recalibration")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("for_tenant", "model_version"), name="deployment_one_recalibration_in_force"
                    )
                ],
            },
        ),
        migrations.AlterField("Activation", "act", models.CharField(choices=ACTS, default="activated", max_length=20)),
        migrations.AddField(
            "Activation",
            "recalibration",
            _to("deployment.recalibration", null=True, related_name="entries", help_text=IN_FORCE),
        ),
        migrations.AddField("Activation", "recalibration_before", _to("deployment.recalibration", null=True)),
    ]
