from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import AppendOnly, GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH

# The queue as the dispatcher and the claiming worker see it: no patient and no message.
CLAIM_COLUMNS = (
    "state", "attempts", "fence", "lease_until", "run_after", "worker", "is_suspect", "waits", "waiting_since",
    "reason_code", "reason", "finished", "answer",
)  # fmt: skip
QUEUE_COLUMNS = ("id", "tenant_id", "destination_id", "priority", "created", *CLAIM_COLUMNS)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("events", "0005_deliveries"), ("routing", "0004_destinations_isolated")]

    operations: ClassVar = [
        IsolateTenant("TenantEvent"),
        AppendOnly("TenantEvent"),
        IsolateTenant("Delivery"),
        GrantAcrossTenants("Delivery", DISPATCH, select=QUEUE_COLUMNS, update=CLAIM_COLUMNS),
    ]
