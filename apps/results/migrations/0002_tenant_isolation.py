from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH

# The queue as the dispatcher and the claiming worker see it: no patient and no result.
CLAIM_COLUMNS = (
    "state", "attempts", "fence", "lease_until", "run_after", "worker", "is_suspect", "waits", "waiting_since",
    "reason_code", "reason", "finished",
)  # fmt: skip
QUEUE_COLUMNS = ("id", "tenant_id", "study_id", "priority", "created", *CLAIM_COLUMNS)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("results", "0001_initial"), ("tenants", "0003_sign_in_reads_keys")]

    operations: ClassVar = [
        IsolateTenant("ResultPolicy"),
        IsolateTenant("ResultObject"),
        IsolateTenant("ResultJob"),
        GrantAcrossTenants("ResultJob", DISPATCH, select=QUEUE_COLUMNS, update=CLAIM_COLUMNS),
    ]
