"""What happens to people and keys; refusals of no known tenant; and who may erase any of it."""

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import apps.core.identifiers
from apps.tenants.rls import AppendOnly, LetErase
from apps.tenants.roles import APP, ERASE


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("audit", "0007_stamped_by_the_database"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="auditevent",
            name="address",
            field=models.GenericIPAddressField(
                help_text="Where the request came from, where there was one.", null=True
            ),
        ),
        migrations.CreateModel(
            name="SecurityEvent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        help_text="Stamped by the database.",
                    ),
                ),
                (
                    "database_role",
                    models.CharField(
                        db_default="", editable=False, help_text="Stamped by the database.", max_length=63
                    ),
                ),
                ("action", models.CharField(max_length=40, help_text="One of `Action`.")),
                ("address", models.GenericIPAddressField(null=True)),
                ("amount", models.PositiveIntegerField(default=1, help_text="How many attempts this line stands for.")),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["user", "-at"], name="audit_security_of_user")],
            },
        ),
        migrations.RunSQL(
            "create trigger audit_stamp before insert on audit_securityevent for each row execute function audit_stamp()",
            "drop trigger audit_stamp on audit_securityevent",
        ),
        AppendOnly("SecurityEvent"),
        # Django's log of what operators did in the console: the application writes lines and changes none.
        migrations.RunSQL(
            f"revoke update, delete, truncate on django_admin_log from {APP}; "
            f"grant select, update, delete on django_admin_log to {ERASE}",
            f"grant update, delete on django_admin_log to {APP}; revoke all on django_admin_log from {ERASE}",
        ),
        LetErase("AuditEvent"),
        LetErase("SecurityEvent"),
    ]
