from typing import ClassVar

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
import apps.tenants.fields
import apps.tenants.scope
from apps.tenants.rls import AppendOnly, IsolateTenant, LetErase

ID = (
    "id",
    models.UUIDField(default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False),
)
TENANT = (
    "tenant",
    models.ForeignKey(
        db_index=False,
        default=apps.tenants.scope.current_tenant_id,
        editable=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="tenants.tenant",
    ),
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("reports", "0005_signed_versions"),
        ("studies", "0007_instances_without_pixels"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            "ReportDraft",
            "job",
            apps.tenants.fields.TenantForeignKey(
                help_text="The reading that it is about; empty while there is none.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="report_drafts",
                to="inference.inferencejob",
            ),
        ),
        migrations.AddField(
            "ReportDraft",
            "impression",
            models.TextField(blank=True, default="", db_default="", help_text="The text that the readers saved last."),
        ),
        migrations.AddField(
            "ReportDraft",
            "revision",
            models.PositiveIntegerField(db_default=0, default=0, help_text="How often the text was saved."),
        ),
        migrations.AddField(
            "ReportDraft",
            "saved_by",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField("ReportDraft", "saved_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "Report",
            "job",
            apps.tenants.fields.TenantForeignKey(
                help_text="The reading that it is about; empty where the study had none.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reports",
                to="inference.inferencejob",
            ),
        ),
        migrations.AddField(
            "Report",
            "addendum",
            models.TextField(
                blank=True, default="", db_default="", help_text="What an addendum adds to the impression."
            ),
        ),
        migrations.AddField(
            "Report",
            "verdicts",
            models.JSONField(
                db_default=models.Value({}, output_field=models.JSONField()),
                default=dict,
                help_text="The verdicts at the signature, by label.",
            ),
        ),
        migrations.AddField(
            "Report",
            "reader_findings",
            models.JSONField(
                db_default=models.Value([], output_field=models.JSONField()),
                default=list,
                help_text="The findings that readers had added at the signature, as of `ReaderFinding.as_signed`.",
            ),
        ),
        migrations.AddField(
            "Report",
            "draft_revision",
            models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Where the next draft's revisions begin, so that a page from before is late.",
            ),
        ),
        migrations.AddConstraint(
            "Report",
            models.CheckConstraint(
                condition=models.Q(("addendum", ""), ("amends__isnull", False), _connector="OR"),
                name="reports_addendum_is_to_a_version",
            ),
        ),
        migrations.CreateModel(
            name="ReaderFinding",
            fields=[
                ID,
                ("name", models.CharField(max_length=100)),
                (
                    "label",
                    models.CharField(
                        blank=True, help_text="Where it is one of the findings of the models.", max_length=40
                    ),
                ),
                (
                    "sop_instance_uid",
                    models.CharField(blank=True, help_text="The image that shows it.", max_length=64),
                ),
                (
                    "box",
                    models.JSONField(help_text="x, y, width, height in pixels of the stored image.", null=True),
                ),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "reader",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "study",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reader_findings",
                        to="studies.study",
                    ),
                ),
                TENANT,
            ],
            options={
                "ordering": ["id"],
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="reports_readerfinding_tenant_id_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="BlindStep",
            fields=[
                ID,
                (
                    "kind",
                    models.CharField(
                        choices=[("committed", "Impression committed"), ("revealed", "Findings of the AI shown")],
                        max_length=10,
                    ),
                ),
                ("impression", models.TextField(blank=True, help_text="The text that was committed.")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "reader",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                (
                    "study",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="blind_steps", to="studies.study"
                    ),
                ),
                TENANT,
            ],
            options={
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="reports_blindstep_tenant_id_key"),
                    models.UniqueConstraint(
                        fields=("tenant", "study", "reader", "kind"), name="reports_each_blind_step_once"
                    ),
                ],
            },
        ),
        IsolateTenant("ReaderFinding"),
        IsolateTenant("BlindStep"),
        AppendOnly("BlindStep"),
        LetErase("BlindStep"),
    ]
