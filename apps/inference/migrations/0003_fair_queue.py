from django.db import migrations, models

from apps.tenants.rls import GrantColumns
from apps.tenants.roles import DISPATCH


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0002_tenant_isolation"),
        ("registry", "0002_append_only_ledger"),
        ("studies", "0002_tenant_isolation"),
        ("tenants", "0003_sign_in_reads_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="ServedTurn",
            fields=[
                ("priority", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("turn", models.BigIntegerField()),
            ],
        ),
        migrations.RemoveIndex(
            model_name="inferencejob",
            name="inference_job_waiting",
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="turn",
            field=models.BigIntegerField(
                default=0, help_text="Of equal priority, lower goes first (apps.inference.fairness)."
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="versions",
            field=models.JSONField(default=list, help_text="Each version that it holds or wants, with its state."),
        ),
        migrations.AlterField(
            model_name="inferencejob",
            name="priority",
            field=models.SmallIntegerField(
                choices=[(-1, "Low"), (0, "Routine"), (1, "High"), (2, "STAT")],
                default=0,
                help_text="Higher goes first.",
            ),
        ),
        migrations.AddIndex(
            model_name="inferencejob",
            index=models.Index(
                condition=models.Q(("state", "queued")),
                fields=["-priority", "turn", "id"],
                name="inference_job_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="inferencejob",
            index=models.Index(
                condition=models.Q(("state", "queued")),
                fields=["tenant", "priority", "-turn", "id"],
                name="inference_job_turns",
            ),
        ),
        GrantColumns("InferenceJob", DISPATCH, select=("turn",)),
    ]
