from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import AppendOnly, GrantAcrossTenants, IsolateTenant
from apps.tenants.roles import DISPATCH

# Mails as the jobs worker claims them: not to whom, and not about what.
CLAIM_COLUMNS = (
    "state", "attempts", "fence", "lease_until", "run_after", "worker", "is_suspect", "waits", "waiting_since",
    "reason_code", "reason", "finished",
)  # fmt: skip


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("critical", "0001_initial"),
        ("inference", "0002_tenant_isolation"),
        ("studies", "0002_tenant_isolation"),
        ("tenants", "0003_sign_in_reads_keys"),
    ]

    operations: ClassVar = [
        IsolateTenant("CriticalRule"),
        IsolateTenant("RulePerson"),
        IsolateTenant("CriticalNotice"),
        IsolateTenant("NoticeMail"),
        IsolateTenant("NoticeEvent"),
        AppendOnly("NoticeEvent"),
        # When something is due, for the dispatcher and for /metrics: no study, no finding.
        GrantAcrossTenants("CriticalNotice", DISPATCH, select=("id", "tenant_id", "state", "created", "due")),
        GrantAcrossTenants(
            "NoticeMail",
            DISPATCH,
            select=("id", "tenant_id", "priority", "created", *CLAIM_COLUMNS),
            update=CLAIM_COLUMNS,
        ),
    ]
