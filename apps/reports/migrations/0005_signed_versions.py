import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
import apps.tenants.fields
import apps.tenants.scope
from apps.tenants.rls import AppendOnly, IsolateTenant

# The owner of a table is bound by its forced row-level security as well. The images of a signed report are those that
# had come when it was signed.
MOVE_DRAFTS = """
alter table reports_report no force row level security;
alter table studies_instance no force row level security;
alter table studies_series no force row level security;
insert into reports_reportdraft (id, tenant_id, study_id, job_id, created)
select id, tenant_id, study_id, job_id, created from reports_report where status = 'preliminary';
delete from reports_report where status = 'preliminary';
update reports_report r set status = 'final', image_count = (
    select count(*) from studies_series s
      join studies_instance i on i.tenant_id = s.tenant_id and i.series_id = s.id
     where s.tenant_id = r.tenant_id and s.study_id = r.study_id and i.rows is not null and i.received <= r.signed_at);
set constraints all immediate;
set constraints all deferred;
alter table reports_report force row level security;
alter table studies_instance force row level security;
alter table studies_series force row level security;
"""
# As `IsolateTenant` does for the foreign keys that a table has when it is isolated.
TIE_AMENDMENTS = """
create index reports_report_amends_id_idx on reports_report (tenant_id, amends_id);
alter table reports_report add constraint reports_report_amends_id_tenant_fk
    foreign key (tenant_id, amends_id) references reports_report (tenant_id, id) deferrable initially deferred;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0008_how_the_image_was_read"),
        ("reports", "0004_signed_reports_stay"),
        ("studies", "0007_instances_without_pixels"),
        ("tenants", "0003_sign_in_reads_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ReportDraft",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "job",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="report_drafts",
                        to="inference.inferencejob",
                    ),
                ),
                (
                    "study",
                    apps.tenants.fields.TenantForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="report_drafts", to="studies.study"
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
                    models.UniqueConstraint(fields=("tenant", "id"), name="reports_reportdraft_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "study"), name="reports_one_draft_per_study"),
                ],
            },
        ),
        migrations.RemoveConstraint(model_name="report", name="reports_signed_report_names_its_signer"),
        migrations.AddField(
            model_name="report",
            name="amends",
            field=apps.tenants.fields.TenantForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="reports.report"
            ),
        ),
        migrations.AddField(
            model_name="report",
            name="image_count",
            field=models.PositiveIntegerField(default=0, help_text="Images that the study had at the signature."),
        ),
        migrations.AddField(
            model_name="report",
            name="number",
            field=models.PositiveSmallIntegerField(default=1, help_text="1 for the original, and so on."),
        ),
        migrations.AddField(
            model_name="report",
            name="reason",
            field=models.TextField(blank=True, default="", help_text="Why the version before was amended."),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="report",
            name="status",
            field=models.CharField(
                choices=[("preliminary", "Preliminary"), ("final", "Final"), ("amended", "Amended")],
                default="final",
                max_length=12,
            ),
        ),
        migrations.RunSQL(MOVE_DRAFTS, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.UniqueConstraint(
                fields=("tenant", "study", "number"), name="reports_one_version_of_number"
            ),
        ),
        migrations.RemoveConstraint(model_name="report", name="reports_one_per_study"),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("signed_at__isnull", False),
                    ("signed_by__isnull", False),
                    models.Q(("pdf_sha256", ""), _negated=True),
                ),
                name="reports_report_names_its_signer",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("amends__isnull", True), ("number", 1), ("status", "final")),
                    models.Q(
                        ("amends__isnull", False),
                        ("number__gt", 1),
                        ("status", "amended"),
                        models.Q(("reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="reports_amendment_says_of_what_and_why",
            ),
        ),
        IsolateTenant("ReportDraft"),
        migrations.RunSQL(
            TIE_AMENDMENTS,
            "alter table reports_report drop constraint reports_report_amends_id_tenant_fk;"
            "drop index reports_report_amends_id_idx;",
        ),
        AppendOnly("Report"),
    ]
