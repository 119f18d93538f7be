from typing import ClassVar

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
import apps.tenants.fields
import apps.tenants.scope
from apps.tenants.rls import IsolateTenant


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("reports", "0007_verdicts_of_signed_reports"),
        ("studies", "0010_query_indexes"),
        ("tenants", "0006_allowed_origins"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="reportdraft",
            name="reason",
            field=models.TextField(
                blank=True,
                db_default="",
                default="",
                help_text="Why the signed version is amended, as far as it is written.",
            ),
        ),
        migrations.CreateModel(
            name="AddendumDraft",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("impression", models.TextField(blank=True, help_text="What the addendum adds.")),
                ("reason", models.TextField(blank=True)),
                ("revision", models.PositiveIntegerField(default=0, help_text="How often the text was saved.")),
                ("saved_at", models.DateTimeField(null=True)),
                (
                    "saved_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "study",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="addendum_drafts", to="studies.study"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="reports_addendumdraft_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=("tenant", "study", "saved_by"), name="reports_one_addendum_per_reader"
                    ),
                ],
            },
        ),
        IsolateTenant("AddendumDraft"),
    ]
