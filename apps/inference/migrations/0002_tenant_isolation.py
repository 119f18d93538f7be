from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH

# The queue as the dispatcher and the claiming worker see it: no patient, no study's content, no result.
CLAIM_COLUMNS = (
    "state", "attempt", "fence", "lease_until", "run_after", "worker", "model_version_id", "reason_code", "reason",
    "finished",
)  # fmt: skip
QUEUE_COLUMNS = ("id", "tenant_id", "study_id", "priority", "created", *CLAIM_COLUMNS)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0001_initial"), ("studies", "0002_tenant_isolation")]

    operations: ClassVar = [
        IsolateTenant("InferenceJob"),
        IsolateTenant("Finding"),
        IsolateTenant("HeatmapGrids"),
        GrantAcrossTenants("InferenceJob", DISPATCH, select=QUEUE_COLUMNS, update=CLAIM_COLUMNS),
    ]
