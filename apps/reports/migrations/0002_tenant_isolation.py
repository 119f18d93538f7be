from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import IsolateTenant


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reports", "0001_initial"), ("inference", "0002_tenant_isolation")]

    operations: ClassVar = [
        IsolateTenant("Report"),
        IsolateTenant("FindingReview"),
    ]
