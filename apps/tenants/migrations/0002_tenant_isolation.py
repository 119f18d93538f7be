from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import AUTH


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0001_initial")]

    operations: ClassVar = [
        IsolateTenant("Membership"),
        IsolateTenant("ApiClient"),
        GrantAcrossTenants("Membership", AUTH, select=["id", "tenant_id", "user_id", "role"]),
    ]
