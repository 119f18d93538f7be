"""The dispatcher's sweep: escalate notices that are due, remind the administrators, and wake the mails' worker.

The rows hold the time limits, so that a restart delays an escalation by no more than the time it takes.
"""

import logging
from datetime import datetime
from uuid import UUID

from django.utils import timezone

from apps.core.wake_up import wake_now
from apps.critical.mails import MAILS
from apps.critical.models import WAITING, CriticalNotice, NoticeEvent, NoticeState
from apps.critical.notices import escalate, repeat_after
from apps.critical.people import administrators, notify
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)
_AT_ONCE = 500


def sweep(now: datetime | None = None) -> None:
    """One sweep over all hospitals; an error in one does not keep the others waiting."""
    now = now or timezone.now()
    due = CriticalNotice.objects.using("dispatch").filter(state__in=WAITING, due__lte=now)
    for tenant_id in due.order_by().values_list("tenant_id", flat=True).distinct():
        try:
            escalate_due_notices(tenant_id=tenant_id, now=now)
        except Exception as error:
            logger.warning("An escalation failed (%s); the next sweep tries again.", type(error).__name__)
    MAILS.free_ended_workers()
    MAILS.expire_leases()
    if MAILS.due().exists():
        wake_now(MAILS.wake_up)


def escalate_due_notices(*, tenant_id: UUID, now: datetime) -> int:
    """Escalate one hospital's notices that are due, or remind its administrators; return how many there were."""
    with tenant_tx(tenant_id):
        due = CriticalNotice.objects.filter(state__in=WAITING, due__lte=now).order_by("due")
        # Another dispatcher may run the same sweep: what it has locked is its own.
        notices = list(due.select_for_update(skip_locked=True, no_key=True)[:_AT_ONCE])
        late = [notice for notice in notices if notice.state == NoticeState.ESCALATED]
        escalated = escalate([notice for notice in notices if notice.state == NoticeState.OPEN], now)
        for notice in late:
            notice.due = now + repeat_after(notice)
        CriticalNotice.objects.bulk_update(late, ["due"])
        reminded = [(notice, user) for user in administrators() for notice in late] if late else []
        notify({NoticeEvent.Kind.ESCALATED: escalated, NoticeEvent.Kind.REPEATED: reminded}, now)
    return len(notices)
