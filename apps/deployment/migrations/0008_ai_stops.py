from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

import apps.core.identifiers

_ACTS = [
    ("activated", "Put into service"),
    ("rolled-back", "Rolled back"),
    ("unpinned", "Back to the platform's version"),
    ("points", "Operating points changed"),
    ("retired", "Retired"),
    ("shadow", "Shadow started"),
    ("canary", "Canary started or changed"),
    ("challenge-ended", "Challenger ended"),
    ("recalibrated", "Probabilities recalibrated"),
    ("ai-stopped", "AI stopped"),
    ("ai-started", "AI started again"),
]


class Migration(migrations.Migration):
    dependencies: ClassVar = [("deployment", "0007_why_no_preview"), ("tenants", "0001_initial")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="AiStop",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("label", models.CharField(blank=True, help_text="Empty: the whole AI.", max_length=40)),
                ("since", models.DateTimeField(auto_now_add=True)),
                ("actor", models.CharField(max_length=100)),
                ("reason", models.TextField()),
                (
                    "for_tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "AI stop",
                "ordering": ["label"],
                "constraints": [
                    models.UniqueConstraint(fields=("for_tenant", "label"), name="deployment_one_stop_of_each")
                ],
            },
        ),
        migrations.AddField(
            "activation",
            "label",
            models.CharField(
                blank=True, db_default="", default="", help_text="The only finding of a stop.", max_length=40
            ),
        ),
        migrations.AlterField("activation", "act", models.CharField(choices=_ACTS, default="activated", max_length=20)),
    ]
