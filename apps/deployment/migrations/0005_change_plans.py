"""Versions of the change plan, which each ledger entry cites."""

from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.identifiers import uuid7
from apps.tenants.rls import AppendOnly

ALLOWED = "Which changes may be made without a new plan, and which may not."
PROTOCOL = "How each change is made and tested: data, measurements, who decides."


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("deployment", "0004_recalibrations"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="ChangePlan",
            fields=[
                ("id", models.UUIDField(default=uuid7, editable=False, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(editable=False, unique=True)),
                ("allowed_changes", models.TextField(help_text=ALLOWED)),
                ("protocol", models.TextField(help_text=PROTOCOL)),
                ("acceptance_limits", models.TextField(help_text="The figures that a change must reach.")),
                (
                    "impact",
                    models.TextField(
                        help_text="The risks of the changes, and what limits them.", verbose_name="impact assessment"
                    ),
                ),
                ("rollback", models.TextField(help_text="When and how a change is taken back.")),
                (
                    "reason",
                    models.TextField(
                        help_text="Why this version replaces the one before.", verbose_name="what changed"
                    ),
                ),
                ("actor", models.CharField(editable=False, max_length=100)),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["-number"]},
        ),
        AppendOnly("ChangePlan"),
        migrations.AddField(
            "Activation",
            "change_plan",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="deployment.changeplan",
                help_text="The plan under which it was made; empty before there were plans.",
            ),
        ),
    ]
