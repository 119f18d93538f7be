"""Pages of critical findings: who sees what, what is kept when a form is refused, and what the settings say."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from apps.critical.models import CriticalNotice, CriticalRule, NoticeEvent, NoticeState
from apps.reading.models import AiDisplay, ReadingPolicy
from apps.studies.models import DemographicsConflict
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.critical.conftest import member, notices

PAGE = "/critical/"
RULES = "/settings/critical/"


@pytest.fixture
def admin(north: Hospital, sign_in: Any) -> Client:
    return sign_in(north, north.admin)


@pytest.fixture
def open_notice(north: Hospital, rule: Any, flag: Any) -> CriticalNotice:
    rule(north, "Pneumothorax", [north.radiologist, north.admin])
    flag(north, {"patient_name": "DOE^Jane"}, Pneumothorax=0.9)
    return notices(north)[0]


def test_only_those_who_may_see_findings_see_which_one(
    north: Hospital, south: Hospital, open_notice: CriticalNotice, sign_in: Any
) -> None:
    reader, admin = sign_in(north, north.radiologist), sign_in(north, north.admin)
    for client in (reader, admin):
        assert "1 critical result waits for your acknowledgement" in client.get("/").text
        assert "DOE, Jane" in client.get(PAGE).text
    assert "Pneumothorax" in reader.get(PAGE).text
    assert "Pneumothorax" not in admin.get(PAGE).text
    technologist, other = sign_in(north, north.technologist), sign_in(south, south.radiologist)
    for client in (technologist, other):
        assert client.get("/critical/banner/").text.strip() == ""
        assert "Nothing waits" in client.get(PAGE).text
        assert client.post(f"{PAGE}{open_notice.pk}/acknowledge/").status_code == 404
    for audited in (reader, admin):
        assert audited.post(f"{PAGE}{open_notice.pk}/acknowledge/").status_code in (302, 409)
    assert "Nothing waits" in reader.get(PAGE).text
    assert "Acknowledged by" in reader.get(PAGE, {"state": "acknowledged"}).text


def test_a_reader_acknowledges_on_the_page_of_the_study(
    north: Hospital, south: Hospital, open_notice: CriticalNotice, sign_in: Any
) -> None:
    page = f"/studies/{open_notice.study_id}/"
    technologist, reader = sign_in(north, north.technologist), sign_in(north, north.radiologist)
    assert "Acknowledge" not in technologist.get(page).text, "the rule does not notify them"
    assert "Critical: Pneumothorax." in reader.get(page).text
    token = reader.get(f"{page}state/").json()["token"]
    answer = reader.post(f"{PAGE}{open_notice.pk}/acknowledge/", {"from": "study"})
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert "Critical: Pneumothorax." not in reader.get(page).text
    assert reader.get(f"{page}state/").json()["token"] != token, "another reader's page follows"


def test_a_time_is_the_hospitals_and_a_refused_form_keeps_what_was_typed(
    north: Hospital, open_notice: CriticalNotice, sign_in: Any
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(time_zone="Europe/Berlin")
    client = sign_in(north, north.radiologist)
    address = f"{PAGE}{open_notice.pk}/acknowledge/"

    def form(moment: Any) -> dict[str, str]:
        names = {"contact": "Dr. Ward", "at": f"{moment.astimezone(berlin):%Y-%m-%dT%H:%M}", "note": "by phone"}
        return {f"{open_notice.pk}-{name}": value for name, value in names.items()}

    refused = client.post(address, form(timezone.now() + timedelta(hours=2)))
    assert refused.status_code == 400
    assert "The time must lie between the notice and now." in refused.text
    assert 'value="Dr. Ward"' in refused.text
    assert 'value="by phone"' in refused.text
    assert notices(north)[0].state == NoticeState.OPEN
    assert client.post(address, form(timezone.now())).status_code == 302
    with tenant_tx(north.tenant.pk):
        stored = NoticeEvent.objects.get(kind="acknowledged").contact_at
    assert stored is not None
    assert timezone.now() - stored < timedelta(minutes=2)
    assert f"{stored.astimezone(berlin):%H:%M} CE" in client.get(PAGE, {"state": "acknowledged"}).text


def test_a_blind_reader_and_a_conflict(north: Hospital, open_notice: CriticalNotice, sign_in: Any) -> None:
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(ai_display=AiDisplay.BLIND_FIRST)
        DemographicsConflict.objects.create(study_id=open_notice.study_id)
    page = sign_in(north, north.radiologist).get(PAGE).text
    assert "Pneumothorax" not in page
    assert "reads blind first" in page
    assert "is in conflict" in page


def test_an_administrator_makes_changes_and_removes_a_rule(
    north: Hospital, south: Hospital, admin: Client, sign_in: Any
) -> None:
    assert "No finding is critical yet" in admin.get(RULES).text
    reader, manager = member(north, north.radiologist), member(north, north.admin)
    given = {"label": "Pneumothorax", "margin": "0", "minutes": "15", "is_active": "on"}
    assert "Ensure this value is" in admin.post(RULES, {**given, "minutes": "0"}).text
    foreign = member(south, south.radiologist)
    assert "Select a valid choice" in admin.post(RULES, {**given, "people": [str(foreign.pk)]}).text
    assert admin.post(RULES, {**given, "people": [str(reader.pk)]}).status_code == 302
    assert "Select a valid choice" in admin.post(RULES, given).text
    with tenant_tx(north.tenant.pk):
        rule = CriticalRule.objects.get()
    page = admin.get(f"{RULES}{rule.pk}/")
    assert f'value="{reader.pk}"' in page.text
    changed = {"margin": "10", "minutes": "5", "escalate_to": [str(manager.pk)]}
    assert admin.post(f"{RULES}{rule.pk}/", changed).status_code == 302
    listed = admin.get(RULES).text
    for text in ("10 percentage points", "Nobody: it is escalated at once", "after 5 minutes", "switched off"):
        assert text in listed
    assert "learn only that a critical result is open: admin of north" in admin.get(f"{RULES}{rule.pk}/").text
    assert sign_in(south, south.admin).get(f"{RULES}{rule.pk}/").status_code == 404
    assert admin.post(f"{RULES}{rule.pk}/remove/").status_code == 302
    assert "No finding is critical yet" in admin.get(RULES).text
