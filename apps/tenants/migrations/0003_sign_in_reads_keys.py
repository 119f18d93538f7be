from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, GrantColumns
from apps.tenants.roles import AUTH


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0002_tenant_isolation")]

    operations: ClassVar = [
        GrantColumns("Tenant", AUTH, select=["id", "slug", "name", "ae_title", "is_active"]),
        GrantAcrossTenants(
            "ApiClient",
            AUTH,
            select=["id", "tenant_id", "name", "key_hash", "scopes", "expires", "revoked"],
        ),
    ]
