"""Time and database role of a line come from the database, so that no process can write a line in another's name."""

import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

STAMP = """
create function audit_stamp() returns trigger language plpgsql as $$
begin
    new.at := clock_timestamp();
    new.database_role := current_user;
    return new;
end
$$;
create trigger audit_stamp before insert on audit_auditevent for each row execute function audit_stamp();
"""
UNSTAMP = "drop trigger audit_stamp on audit_auditevent; drop function audit_stamp();"


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0006_dicom_peers"),
        ("tenants", "0003_sign_in_reads_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="auditevent",
            name="database_role",
            field=models.CharField(db_default="", editable=False, help_text="Stamped by the database.", max_length=63),
        ),
        migrations.AddField(
            model_name="auditevent",
            name="operation",
            field=models.CharField(
                db_default="", help_text="What was asked for: the name of a view, never its address.", max_length=100
            ),
        ),
        migrations.AddField(
            model_name="auditevent",
            name="outcome",
            field=models.PositiveSmallIntegerField(choices=[(0, "Success"), (4, "Refused")], db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(max_length=40, help_text="One of `Action`."),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                help_text="Stamped by the database.",
            ),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["tenant", "object_id", "-at"], name="audit_event_of_object"),
        ),
        migrations.RunSQL(STAMP, UNSTAMP),
    ]
