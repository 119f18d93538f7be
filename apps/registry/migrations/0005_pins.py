"""A pointer for each tenant that is pinned, beside the platform's; the ledger's lines get numbers."""

import django.db.models.deletion
from django.db import migrations, models

import apps.core.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0004_append_only_evaluation"),
        ("tenants", "0002_tenant_isolation"),
    ]

    operations = [
        migrations.DeleteModel(name="Deployment"),
        migrations.CreateModel(
            name="Deployment",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("since", models.DateTimeField(auto_now=True)),
                (
                    "for_tenant",
                    models.ForeignKey(
                        db_index=False,
                        help_text="Empty: every tenant that has no pointer of its own.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "model_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="registry.modelversion"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("for_tenant",), name="registry_one_deployment_for_each", nulls_distinct=False
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="activation",
            name="act",
            field=models.CharField(
                choices=[
                    ("activated", "Put into service"),
                    ("rolled-back", "Rolled back"),
                    ("unpinned", "Back to the platform's version"),
                ],
                default="activated",
                max_length=20,
            ),
        ),
        migrations.AddField(
            model_name="activation",
            name="for_tenant",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="activation",
            name="number",
            field=models.PositiveBigIntegerField(null=True),
        ),
    ]
