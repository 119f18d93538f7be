from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH

# The queue as the dispatcher and the claiming worker see it: no reference to an image.
CLAIM_COLUMNS = (
    "state", "attempts", "fence", "lease_until", "run_after", "worker", "is_suspect", "waits", "waiting_since",
    "reason_code", "reason", "finished",
)  # fmt: skip
QUEUE_COLUMNS = ("id", "tenant_id", "destination_id", "priority", "created", *CLAIM_COLUMNS)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("events", "0008_storage_commitment")]

    operations: ClassVar = [
        IsolateTenant("CommitmentRequest"),
        GrantAcrossTenants("CommitmentRequest", DISPATCH, select=QUEUE_COLUMNS, update=CLAIM_COLUMNS),
    ]
