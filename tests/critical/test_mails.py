"""Mails about critical results: to a real server, bounded, without patient data, and tried again."""

import threading
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.utils import timezone

from apps.core.work_queue import JobState
from apps.critical.models import CriticalNotice, NoticeEvent, NoticeMail
from apps.critical.notices import acknowledge, open_notices
from apps.reading.models import ReadingPolicy
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.critical.conftest import Mailbox, member, notices
from tests.trials.reviewed import read_studies_as_rows
from workers.delivering import send_mails_due


def send() -> None:
    send_mails_due(worker="test", stopping=threading.Event())


def mails(hospital: Hospital) -> list[NoticeMail]:
    with tenant_tx(hospital.tenant.pk):
        return list(NoticeMail.objects.order_by("pk"))


def make_due(hospital: Hospital) -> None:
    with tenant_tx(hospital.tenant.pk):
        NoticeMail.objects.update(run_after=timezone.now() - timedelta(seconds=1))


def test_a_mail_says_that_something_waits_and_nothing_about_whom(
    north: Hospital, rule: Any, flag: Any, mailbox: Mailbox
) -> None:
    rule(north, "Pneumothorax", [north.radiologist])
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(time_zone="Europe/Berlin")
    study = flag(north, {"patient_name": "DOE^Jane", "patient_id": "P-77"}, Pneumothorax=0.9)
    send()
    (message,) = mailbox.messages
    assert message["To"] == north.radiologist.email
    text = f"{message['Subject']}\n{message.get_content()}"
    assert "1 critical result waits for your acknowledgement in Checxray at North Hospital" in text
    assert "https://checxray.example/critical/" in text
    assert " CE" in text
    for secret in ("DOE", "Jane", "P-77", "neumothorax", str(study.pk), study.study_instance_uid):
        assert secret not in message.as_string()
    assert [each.state for each in mails(north)] == [JobState.COMPLETE]


def test_a_server_that_is_away_is_tried_again_and_the_page_says_so(
    north: Hospital, rule: Any, flag: Any, mailbox: Mailbox, settings: Any, sign_in: Any
) -> None:
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 1
    rule(north, "Pneumothorax", [north.radiologist])
    flag(north, Pneumothorax=0.9)
    send()
    (mail,) = mails(north)
    assert (mail.state, mail.attempts) == (JobState.QUEUED, 1)
    assert "ConnectionRefusedError" in mail.reason
    page = sign_in(north, north.radiologist).get("/critical/").text
    assert "A mail about this was not delivered." in page
    settings.EMAIL_PORT = port
    make_due(north)
    send()
    assert mailbox.recipients == [north.radiologist.email]
    assert "not delivered" not in sign_in(north, north.radiologist).get("/critical/").text


def test_what_is_acknowledged_before_the_mail_goes_needs_none(
    north: Hospital, rule: Any, flag: Any, mailbox: Mailbox
) -> None:
    rule(north, "Pneumothorax", [north.radiologist])
    flag(north, Pneumothorax=0.9)
    with tenant_tx(north.tenant.pk):
        acknowledge(
            notice_id=CriticalNotice.objects.get().pk,
            user=north.radiologist,
            membership=member(north, north.radiologist),
        )
    send()
    assert mailbox.messages == []
    assert [each.state for each in mails(north)] == [JobState.REJECTED]


def test_five_hundred_critical_studies_are_two_mails_a_person(
    north: Hospital, rule: Any, version: Any, mailbox: Mailbox
) -> None:
    rule(north, "Pneumothorax", [north.radiologist, north.technologist])
    north.technologist.email = ""
    north.technologist.save()
    jobs = read_studies_as_rows(north, version, [{"Pneumothorax": 0.9}] * 500)
    for batch in (jobs[:32], jobs[32:]):
        with tenant_tx(north.tenant.pk):
            open_notices(jobs=batch)
        send()
    assert len(notices(north)) == 500
    assert mailbox.recipients == [north.radiologist.email]
    first, second = mails(north)
    assert first.state == JobState.COMPLETE
    assert second.run_after - first.run_after == timedelta(minutes=1)
    make_due(north)
    send()
    assert "500 critical results wait" in mailbox.messages[-1].get_content()
    with tenant_tx(north.tenant.pk):
        assert NoticeEvent.objects.filter(user=north.technologist, mail=None).count() == 500


def test_the_dispatcher_escalates_and_frees_a_mail_of_a_dead_worker(
    north: Hospital, rule: Any, flag: Any, mailbox: Mailbox
) -> None:
    rule(north, "Pneumothorax", [north.radiologist], [north.admin])
    flag(north, Pneumothorax=0.9)
    with tenant_tx(north.tenant.pk):
        CriticalNotice.objects.update(due=timezone.now())
        NoticeMail.objects.update(
            state=JobState.RUNNING, fence=1, attempts=1, lease_until=timezone.now() - timedelta(seconds=1)
        )
    call_command("dispatcher", once=True)
    assert [each.state for each in mails(north)] == [JobState.QUEUED] * 2
    make_due(north)
    send()
    assert mailbox.recipients == sorted([north.radiologist.email, north.admin.email])
