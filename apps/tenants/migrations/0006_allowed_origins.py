from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

import apps.core.identifiers
import apps.tenants.scope
from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import AUTH


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0005_notice_seen")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="AllowedOrigin",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("origin", models.CharField(max_length=200)),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        default=apps.tenants.scope.current_tenant_id,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="tenants_allowedorigin_tenant_id_key"),
                    models.UniqueConstraint(fields=("tenant", "origin"), name="tenants_one_row_per_origin"),
                ],
            },
        ),
        IsolateTenant("AllowedOrigin"),
        GrantAcrossTenants("AllowedOrigin", AUTH, select=["tenant_id", "origin"]),
    ]
