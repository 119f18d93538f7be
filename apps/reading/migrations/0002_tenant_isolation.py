from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import IsolateTenant


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reading", "0001_initial"), ("tenants", "0003_sign_in_reads_keys")]

    operations: ClassVar = [IsolateTenant("ReadingPolicy")]
