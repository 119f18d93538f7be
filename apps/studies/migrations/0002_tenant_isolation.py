from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import IsolateTenant


class Migration(migrations.Migration):
    dependencies: ClassVar = [("studies", "0001_initial")]

    operations: ClassVar = [
        IsolateTenant("Patient"),
        IsolateTenant("Study"),
        IsolateTenant("Series"),
        IsolateTenant("Instance"),
    ]
