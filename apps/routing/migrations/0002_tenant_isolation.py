from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import AUTH


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("routing", "0001_initial"),
        ("tenants", "0003_sign_in_reads_keys"),
    ]

    operations: ClassVar = [
        IsolateTenant("Peer"),
        IsolateTenant("Refusal"),
        # A caller is looked up before a tenant is in force.
        GrantAcrossTenants("Peer", AUTH, select=["id", "tenant_id", "ae_title", "network", "certificate"]),
    ]
