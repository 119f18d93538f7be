"""Mails about notices: one to a person in a minute, without any patient data, tried again while no server answers."""

import smtplib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.core.wake_up import WakeUp, wake_after_commit
from apps.core.watched_queues import DISPATCHED_COLUMNS
from apps.core.work_queue import JobState, Queue
from apps.critical.models import NOTIFYING, WAITING, CriticalNotice, NoticeMail
from apps.reading.selectors import reading_policy
from apps.tenants.models import Membership, Tenant
from apps.tenants.scope import current_tenant_id, tenant_tx

DIGEST = timedelta(minutes=1)
"""At least so long lies between two mails to one person."""
# A mail that no server takes is tried again for about three hours.
_PAUSES = (10, 30, 60, 120, *(300,) * 36)
MAILS = Queue(
    NoticeMail,
    WakeUp.DELIVER,
    columns=DISPATCHED_COLUMNS,
    using="dispatch",
    pauses=_PAUSES,
    lease=timedelta(minutes=2),
    lost="Its worker died at every attempt: see the logs of the jobs worker.",
)


def queue_mails(users: Collection[User]) -> Mapping[UUID, NoticeMail]:
    """Make sure that a mail to each person waits, in the transaction of the notices; return it by the person's id.

    A mail that waits already serves new notices too. Without a mail server, or an address, there is none.
    """
    ids = [user.pk for user in users if user.email]
    if not ids or not settings.EMAIL_HOST:
        return {}
    # Two workers that open notices at once must not queue two mails for one person.
    list(Membership.objects.select_for_update(no_key=True, of=("self",)).filter(user__in=ids).order_by("pk"))
    mails = NoticeMail.objects.filter(user__in=ids)
    queued = {mail.user_id: mail for mail in mails.filter(state=JobState.QUEUED).order_by("-id")}
    last = dict(mails.order_by().values("user").annotate(last=Max("run_after")).values_list("user", "last"))
    now = timezone.now()
    new = [
        NoticeMail(user_id=user_id, run_after=max(now, last[user_id] + DIGEST) if last.get(user_id) else now)
        for user_id in ids
        if user_id not in queued
    ]
    NoticeMail.objects.bulk_create(new)
    if new:
        wake_after_commit(WakeUp.DELIVER)
    return {**queued, **{mail.user_id: mail for mail in new}}


@dataclass(frozen=True)
class Message:
    """What is sent: plain text without name, ID, study or finding."""

    to: str
    subject: str
    body: str


def message_of(mail: NoticeMail) -> Message | None:
    """The mail's text in the person's language, or else the hospital's; None where nothing waits any more."""
    user = mail.user
    if not user.email or not Membership.objects.filter(user=user, user__is_active=True).exists():
        return None
    named = CriticalNotice.objects.filter(events__user=user, events__kind__in=NOTIFYING, state__in=WAITING)
    waiting = list(named.distinct().order_by("created"))
    if not waiting:
        return None
    policy = reading_policy()
    tenant = Tenant.objects.get(pk=current_tenant_id())
    with translation.override(user.language or policy.language):
        return Message(user.email, *_text(tenant, waiting, ZoneInfo(policy.time_zone)))


def _text(tenant: Tenant, waiting: list[CriticalNotice], zone: ZoneInfo) -> tuple[str, str]:
    count = len(waiting)
    subject = _("Checxray at %(hospital)s: critical results wait") % {"hospital": tenant}
    lines = [
        ngettext(
            "%(count)d critical result waits for your acknowledgement in Checxray at %(hospital)s.",
            "%(count)d critical results wait for your acknowledgement in Checxray at %(hospital)s.",
            count,
        )
        % {"count": count, "hospital": tenant},
        _("The oldest has waited since %(time)s.") % {"time": _time(waiting[0].created, zone)},
    ]
    if any(notice.escalated_at for notice in waiting):
        lines.append(_("Those who were notified first have not acknowledged in time."))
    lines.append(address() or _("Sign in to Checxray to see what it is about."))
    lines.append(_("This message contains no patient data. An answer to it is not read."))
    return subject, "\n\n".join(lines) + "\n"


def _time(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def address() -> str:
    """The address of the page with the notices; empty where no setting says under which name people reach it."""
    host = next((each.lstrip(".") for each in settings.ALLOWED_HOSTS if each != "*"), "")
    origin = settings.PUBLIC_URL or next(iter(settings.CSRF_TRUSTED_ORIGINS), "") or (f"https://{host}" if host else "")
    return f"{origin.rstrip('/')}{reverse('portal:critical')}" if origin else ""


@dataclass(frozen=True)
class SentMail:
    """The outcome of one attempt; ``failure`` is empty where the server took the mail, or none was needed."""

    mail: NoticeMail
    is_needed: bool = True
    failure: str = ""


def send_mail(mail: NoticeMail) -> SentMail:
    """Send a claimed mail. No transaction is open while the server answers."""
    with tenant_tx(cast(UUID, mail.tenant_id)):
        message = message_of(NoticeMail.objects.select_related("user").get(pk=mail.pk))
    if message is None:
        return SentMail(mail, is_needed=False)
    headers = {"Auto-Submitted": "auto-generated"}
    try:
        EmailMessage(message.subject, message.body, None, [message.to], headers=headers).send()
    # The text of the error may have the person's address; its class says what is wrong.
    except (OSError, smtplib.SMTPException) as error:
        return SentMail(mail, failure=f"The mail server did not take it ({type(error).__name__}).")
    return SentMail(mail)


def finish_mail(*, sent: SentMail) -> None:
    """Record the outcome of an attempt: sent, not needed, queued again, or given up."""
    if sent.failure:
        MAILS.fail(job=sent.mail, reason=sent.failure)
        return
    with tenant_tx(cast(UUID, sent.mail.tenant_id)):
        if sent.is_needed:
            MAILS.complete(job=sent.mail)
        else:
            MAILS.reject(job=sent.mail, code="not-needed", reason="Nothing waited for this person any more.")
