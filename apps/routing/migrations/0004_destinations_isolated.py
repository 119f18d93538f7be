from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH


class Migration(migrations.Migration):
    dependencies: ClassVar = [("routing", "0003_destinations")]

    operations: ClassVar = [
        IsolateTenant("Destination"),
        # A worker claims deliveries of all tenants, and leaves out those of a destination that is switched off.
        GrantAcrossTenants("Destination", DISPATCH, select=["id", "tenant_id", "is_enabled"]),
    ]
