from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import AppendOnly, IsolateTenant


class Migration(migrations.Migration):
    dependencies: ClassVar = [("audit", "0001_initial")]

    operations: ClassVar = [
        IsolateTenant("AuditEvent"),
        AppendOnly("AuditEvent"),
    ]
