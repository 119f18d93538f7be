"""Notices: opened once with the reading, acknowledged, escalated by the clock, and closed by what settles them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.services import remove_member
from apps.audit.models import AuditEvent
from apps.audit.services import user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.critical.escalation import sweep
from apps.critical.models import Closing, CriticalNotice, NoticeEvent, NoticeState
from apps.critical.notices import Communication, acknowledge
from apps.critical.rules import remove_rule
from apps.critical.selectors import rule_lines, waiting_for, waiting_on_platform
from apps.deployment.services import stop_ai
from apps.events.models import ModelEvent, WebhookDelivery
from apps.events.services import create_endpoint
from apps.inference.models import Finding
from apps.inference.rejections import reject_image, withdraw_rejection
from apps.inference.requests import request_inference
from apps.inference.withdrawal import restore_study, withdraw_study
from apps.reports.services import discard_draft, review_finding, sign_report
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.critical.conftest import member, notices


def trail(hospital: Hospital, notice: CriticalNotice | None = None) -> list[str]:
    with tenant_tx(hospital.tenant.pk):
        events = NoticeEvent.objects.select_related("user").filter(**({"notice": notice} if notice else {}))
        return [f"{each.kind} {each.user.email.split('@')[0] if each.user else '-'}" for each in events]


def acknowledged(hospital: Hospital, user: Any, notice: CriticalNotice, **values: Any) -> CriticalNotice:
    with tenant_tx(hospital.tenant.pk):
        return acknowledge(
            notice_id=notice.pk,
            user=user,
            membership=member(hospital, user),
            communication=Communication(**values),
        )


def test_a_critical_finding_opens_one_notice_in_its_hospital(
    north: Hospital, south: Hospital, rule: Any, flag: Any, read_waiting: Any
) -> None:
    rule(north, "Pneumothorax", [north.radiologist], [north.admin], minutes=10, margin=20)
    rule(north, "Mass", [north.radiologist], is_active=False)
    flag(south, Pneumothorax=0.9)
    flag(north, {"seed": 2}, Pneumothorax=0.69, Mass=0.9)
    assert notices(north) == notices(south) == []

    study = flag(north, {"seed": 3}, Pneumothorax=0.7, Mass=0.9)
    (notice,) = notices(north)
    assert (notice.study_id, notice.label, notice.state) == (study.pk, "Pneumothorax", NoticeState.OPEN)
    assert notice.due == notice.created + timedelta(minutes=10)
    assert trail(north) == ["notified radiologist"]
    with tenant_tx(north.tenant.pk):
        assert waiting_for(member(north, north.radiologist)).count == 1
        assert waiting_for(member(north, north.admin)).count == 0
        # The study is read again, as after a change of the version: only a finding that is new is notified.
        request_inference(study_id=study.pk)
    rule(north, "Nodule", [north.radiologist])
    read_waiting(north, Pneumothorax=0.9, Nodule=0.9)
    assert [each.label for each in notices(north)] == ["Pneumothorax", "Nodule"]
    assert waiting_on_platform().count == 2
    assert waiting_on_platform().oldest == notice.created


def test_who_acknowledges_and_whom_they_informed_is_kept(
    north: Hospital, south: Hospital, rule: Any, flag: Any
) -> None:
    rule(north, "Pneumothorax", [north.technologist])
    flag(north, Pneumothorax=0.9)
    (notice,) = notices(north)
    with pytest.raises(NotFoundError), tenant_tx(south.tenant.pk):
        acknowledge(notice_id=notice.pk, user=south.radiologist, membership=member(south, south.radiologist))
    with pytest.raises(NotPermittedError):
        acknowledged(north, north.admin, notice)
    for wrong in (timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)):
        with pytest.raises(InvalidInputError, match="between"):
            acknowledged(north, north.radiologist, notice, at=wrong)
    assert notices(north)[0].state == NoticeState.OPEN

    done = acknowledged(north, north.radiologist, notice, contact="Dr. Ward", at=timezone.now(), note="ICU")
    assert (done.state, done.acknowledged_by, done.due) == (NoticeState.ACKNOWLEDGED, north.radiologist, None)
    acknowledged(north, north.radiologist, notice)
    with pytest.raises(ConflictError, match="radiologist of north acknowledged"):
        acknowledged(north, north.technologist, notice)
    acknowledged(north, north.technologist, notice, contact="Nurse")
    assert trail(north) == ["notified technologist", "acknowledged radiologist", "communicated technologist"]
    with tenant_tx(north.tenant.pk):
        acts = AuditEvent.objects.filter(action="critical.acknowledged", object_id=notice.pk)
        assert acts.count() == 2
        event = NoticeEvent.objects.get(kind="acknowledged")
        assert (event.contact, event.note) == ("Dr. Ward", "ICU")
    sweep(timezone.now() + timedelta(days=1))
    assert notices(north)[0].state == NoticeState.ACKNOWLEDGED


def test_the_clock_escalates_and_reminds_also_after_a_restart(
    north: Hospital, south: Hospital, rule: Any, flag: Any
) -> None:
    rule(north, "Pneumothorax", [north.radiologist], [north.technologist], minutes=10)
    rule(south, "Pneumothorax", [south.radiologist], minutes=60)
    flag(north, Pneumothorax=0.9)
    flag(south, {"seed": 2}, Pneumothorax=0.9)
    start = notices(north)[0].created
    sweep(start + timedelta(minutes=9))
    assert notices(north)[0].state == NoticeState.OPEN
    # The dispatcher was down for a while: what is due is done once.
    sweep(start + timedelta(minutes=25))
    sweep(start + timedelta(minutes=25))
    (notice,) = notices(north)
    assert (notice.state, notice.escalated_at) == (NoticeState.ESCALATED, start + timedelta(minutes=25))
    assert trail(north) == ["notified radiologist", "escalated technologist"]
    sweep(start + timedelta(minutes=54))
    sweep(start + timedelta(minutes=55))
    sweep(start + timedelta(minutes=86))
    assert trail(north)[2:] == ["repeated admin", "repeated admin"]
    # The other hospital's rule names nobody for the escalation: its administrators are.
    assert trail(south) == ["notified radiologist", "escalated admin"]


def test_who_leaves_drops_out(north: Hospital, rule: Any, flag: Any) -> None:
    rule(north, "Pneumothorax", [north.radiologist], [north.technologist])
    flag(north, Pneumothorax=0.9)
    with tenant_tx(north.tenant.pk):
        remove_member(
            member_id=member(north, north.radiologist).pk,
            membership=member(north, north.admin),
            by=user_actor(north.admin.pk),
        )
        (line,) = rule_lines()
        assert line.reaches_nobody_first
        assert not line.reaches_nobody_at_escalation
    north.technologist.is_active = False
    north.technologist.save()
    flag(north, {"seed": 2}, Pneumothorax=0.9)
    old, new = notices(north)
    assert trail(north, old) == ["notified radiologist"]
    assert (new.state, trail(north, new)) == (NoticeState.ESCALATED, ["escalated admin"])
    sweep(old.due)
    assert trail(north, old) == ["notified radiologist", "escalated admin"]


def test_what_settles_a_notice_closes_it_and_taking_it_back_opens_it(
    north: Hospital, rule: Any, flag: Any, read_waiting: Any
) -> None:
    rule(north, "Pneumothorax", [north.radiologist])
    study = flag(north, Pneumothorax=0.9)
    radiologist = member(north, north.radiologist)
    who = {"user": north.radiologist, "membership": radiologist}

    def state() -> tuple[str, str]:
        notice = notices(north)[-1]
        return notice.state, notice.closing

    with tenant_tx(north.tenant.pk):
        finding = Finding.objects.get(label="Pneumothorax")
        review_finding(finding=finding, verdict="disagree", **who)
    assert state() == (NoticeState.CLOSED, Closing.DISAGREED)
    with tenant_tx(north.tenant.pk):
        review_finding(finding=finding, verdict="agree", **who)
    assert state() == (NoticeState.OPEN, "")
    with tenant_tx(north.tenant.pk):
        withdraw_study(study_id=study.pk, reason="Wrong patient.", **who)
    assert state() == (NoticeState.CLOSED, Closing.WITHDRAWN)
    with tenant_tx(north.tenant.pk):
        restore_study(study_id=study.pk, **who)
    assert state() == (NoticeState.OPEN, "")
    with tenant_tx(north.tenant.pk):
        image = Instance.objects.get().sop_instance_uid
        reject_image(study=study, sop_instance_uid=image, code="113001", reason="", **who)
    assert state() == (NoticeState.CLOSED, Closing.REJECTED)
    assert "closed radiologist" in trail(north)
    with tenant_tx(north.tenant.pk):
        withdraw_rejection(study=study, sop_instance_uid=image, **who)
        request_inference(study_id=study.pk)
    read_waiting(north, Pneumothorax=0.9)
    assert [each.state for each in notices(north)] == [NoticeState.CLOSED, NoticeState.OPEN]
    with tenant_tx(north.tenant.pk):
        sign_report(study=study, impression="Pneumothorax.", agree_rest=True, **who)
    assert state() == (NoticeState.CLOSED, Closing.SIGNED)
    with pytest.raises(ConflictError, match="closed"):
        acknowledged(north, north.radiologist, notices(north)[-1])


def test_a_withdrawn_draft_opens_what_its_verdicts_had_closed(
    north: Hospital, rule: Any, flag: Any, read_waiting: Any
) -> None:
    rule(north, "Pneumothorax", [north.radiologist])
    study = flag(north)
    who = {"user": north.radiologist, "membership": member(north, north.radiologist)}
    with tenant_tx(north.tenant.pk):
        sign_report(study=study, impression="Clear.", **who)
        request_inference(study_id=study.pk)
    read_waiting(north, Pneumothorax=0.9)
    with tenant_tx(north.tenant.pk):
        finding = Finding.objects.select_related("job__study").get(label="Pneumothorax", positive=True)
        review_finding(finding=finding, verdict="disagree", **who)
    assert notices(north)[0].closing == Closing.DISAGREED
    with tenant_tx(north.tenant.pk):
        discard_draft(study=study, **who)
    assert (notices(north)[0].state, notices(north)[0].closing) == (NoticeState.OPEN, "")


def test_what_opens_no_notice(
    north: Hospital, rule: Any, store_film: Callable[..., Any], read_waiting: Any, version: Any
) -> None:
    made = rule(north, "Pneumothorax", [north.radiologist])
    stop_ai(tenant=north.tenant, by=user_actor(north.admin.pk), label="Pneumothorax", reason="Drift.")
    store_film(north)
    read_waiting(north, Pneumothorax=0.9)
    assert notices(north) == []
    with tenant_tx(north.tenant.pk):
        remove_rule(rule_id=made.pk, membership=member(north, north.admin), by=user_actor(north.admin.pk))


def test_an_image_that_was_rejected_while_it_was_read(
    north: Hospital, rule: Any, store_film: Any, read_waiting: Any
) -> None:
    rule(north, "Pneumothorax", [north.radiologist])
    taken = store_film(north)
    with tenant_tx(north.tenant.pk):
        reject_image(
            study=taken.study,
            sop_instance_uid=taken.instance.sop_instance_uid,
            code="113001",
            reason="",
            user=north.radiologist,
            membership=member(north, north.radiologist),
        )
    read_waiting(north, Pneumothorax=0.9)
    assert notices(north) == []


def test_the_event_goes_to_the_hospitals_own_addresses_alone(
    north: Hospital, south: Hospital, rule: Any, flag: Any, settings: Any
) -> None:
    settings.WEBHOOK_HTTP = True
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]
    rule(north, "Pneumothorax", [north.radiologist])
    create_endpoint(url="http://127.0.0.1:1/all", types=["result.critical"])
    create_endpoint(url="http://127.0.0.1:1/south", types=["result.critical"], for_tenant=south.tenant)
    flag(north, Pneumothorax=0.9)
    assert not ModelEvent.objects.filter(type="result.critical").exists()
    create_endpoint(url="http://127.0.0.1:1/north", types=["result.critical"], for_tenant=north.tenant)
    study = flag(north, {"seed": 2, "patient_name": "DOE^Jane"}, Pneumothorax=0.9)
    delivery = WebhookDelivery.objects.select_related("endpoint", "event").get()
    assert delivery.endpoint.url.endswith("/north")
    data = delivery.message["data"]
    assert (data["scope"], data["study"], data["label"]) == ("north", str(study.pk), "Pneumothorax")
    assert "DOE" not in str(delivery.message)
