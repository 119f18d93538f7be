"""Jobs that wait for the end of an outage, and jobs whose worker died: no attempt is spent, and a suspect is read alone."""

from django.db import migrations, models

from apps.tenants.roles import DISPATCH

COLUMNS = "is_suspect, waits, waiting_since"
TABLES = ("inference_inferencejob", "inference_shadowreading")


class Migration(migrations.Migration):
    dependencies = [
        ("inference", "0006_complete_jobs"),
        ("registry", "0019_requests_that_replace"),
        ("studies", "0003_store_instance"),
        ("tenants", "0003_sign_in_reads_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="inferencejob",
            name="is_suspect",
            field=models.BooleanField(
                db_default=False, default=False, help_text="A worker died while it held this: it is read alone."
            ),
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="waiting_since",
            field=models.DateTimeField(help_text="When the outage began that it waits for.", null=True),
        ),
        migrations.AddField(
            model_name="inferencejob",
            name="waits",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="How often in a row it went back to the queue without a spent attempt.",
            ),
        ),
        migrations.AddField(
            model_name="shadowreading",
            name="is_suspect",
            field=models.BooleanField(
                db_default=False, default=False, help_text="A worker died while it held this: it is read alone."
            ),
        ),
        migrations.AddField(
            model_name="shadowreading",
            name="waiting_since",
            field=models.DateTimeField(help_text="When the outage began that it waits for.", null=True),
        ),
        migrations.AddField(
            model_name="shadowreading",
            name="waits",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="How often in a row it went back to the queue without a spent attempt.",
            ),
        ),
        migrations.AddIndex(
            model_name="inferencejob",
            index=models.Index(
                condition=models.Q(("is_suspect", True), ("state", "queued")),
                fields=["-priority", "turn", "id"],
                name="inference_job_suspect",
            ),
        ),
        *(
            migrations.RunSQL(
                f"grant select ({COLUMNS}), update ({COLUMNS}) on {table} to {DISPATCH}",
                f"revoke select ({COLUMNS}), update ({COLUMNS}) on {table} from {DISPATCH}",  # noqa: S608
            )
            for table in TABLES
        ),
    ]
