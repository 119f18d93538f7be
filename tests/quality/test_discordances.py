"""Where a signed report and the AI differ: listed in order, reviewed by a second reader, undone, measured."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.inference.withdrawal import restore_study, withdraw_study
from apps.quality.inbox import measured_precision, reviewed, to_review
from apps.quality.models import Discordance
from apps.reading.models import URGENCY
from apps.reading.selectors import reading_policy
from apps.reports.services import sign_report
from apps.studies.models import Study
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member
from tests.conftest import PASSWORD, Hospital
from tests.quality.reading import sign

PAGE = "/quality/review/"


@pytest.fixture
def second(north: Hospital) -> User:
    """Another radiologist of the hospital."""
    user = User.objects.create_user("second@north.example", PASSWORD, full_name="Second Reader")
    add_member(tenant=north.tenant, user_id=user.pk, role=Role.RADIOLOGIST)
    return user


@pytest.fixture
def signed(north: Hospital, read_study: Callable[..., Study]) -> Study:
    """A study whose report differs on three findings, and agrees on others."""
    study = read_study(north, {"size": 256}, Pneumothorax=0.6, Effusion=0.8, Edema=0.7)
    sign(
        north,
        study,
        {"Pneumothorax": "disagree", "Effusion": "disagree", "Fibrosis": "agree"},
        added=["Mass", "Hernia"],
    )
    return study


def listed(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.pk):
        return [each.label for each in to_review(reading_policy())]


def entry(hospital: Hospital, label: str) -> Discordance:
    with tenant_tx(hospital.tenant.pk):
        return Discordance.objects.get(label=label)


def test_what_differs_is_listed_by_severity_and_confidence(
    north: Hospital, south: Hospital, second: User, signed: Study, sign_in: Callable[..., Client]
) -> None:
    """Mass 9/14 x 0.98, pneumothorax 14/14 x 0.6, effusion 10/14 x 0.8; hernias have no operating point."""
    assert listed(north) == ["Mass", "Pneumothorax", "Effusion"]
    assert [round(entry(north, label).score, 3) for label in listed(north)] == [0.63, 0.6, 0.571]
    page = sign_in(north, second).get(PAGE).text
    assert page.index("Mass") < page.index("Pneumothorax") < page.index("Effusion")
    assert "The AI flagged it (80.0 %); no verdict or finding of the signed report confirms it." in page
    assert "The signed report has it; the AI did not flag it (2.0 %)." in page
    own = sign_in(north, north.radiologist).get(PAGE).text
    assert own.count("You signed this report. Another radiologist reviews it.") == 3
    administrator = sign_in(north, north.admin).get(PAGE).text
    assert "3 findings. Radiologists see which they are" in administrator
    assert str(signed.pk) not in administrator
    assert sign_in(north, north.technologist).get(PAGE).status_code == 403
    assert "Nothing waits for a review" in sign_in(south, south.radiologist).get(PAGE).text
    with tenant_tx(north.tenant.pk):
        by: dict[str, Any] = {"user": north.radiologist, "membership": Membership.objects.get(user=north.radiologist)}
        withdraw_study(study_id=signed.pk, reason="Another patient.", **by)
    assert listed(north) == []
    with tenant_tx(north.tenant.pk):
        restore_study(study_id=signed.pk, **by)
    assert len(listed(north)) == 3

    data = {
        "ai_display": "off", "urgency": "\n".join(URGENCY), "waiting_cap": 120, "language": "en",
        "time_zone": "UTC", "letterhead": "", "discordances_a_day": 2,
    }  # fmt: skip
    assert sign_in(north, north.admin).post("/settings/reading/", data).status_code == 302
    assert listed(north) == ["Mass", "Pneumothorax"]
    sign_in(north, second).post(f"{PAGE}{entry(north, 'Mass').pk}/", {"resolution": "report-right"})
    assert listed(north) == ["Pneumothorax"], "What was reviewed makes room for none of the same day."


def test_a_second_reader_resolves_it_and_takes_it_back(
    north: Hospital, south: Hospital, second: User, signed: Study, sign_in: Callable[..., Client]
) -> None:
    client, address = sign_in(north, second), f"{PAGE}{entry(north, 'Effusion').pk}/"
    assert sign_in(north, north.radiologist).post(address, {"resolution": "unclear"}).status_code == 409
    assert sign_in(north, north.admin).post(address, {"resolution": "unclear"}).status_code == 403
    assert sign_in(south, south.radiologist).post(address, {"resolution": "unclear"}).status_code == 404
    assert client.post(address, {"resolution": "else"}).status_code == 400
    assert client.post(address, {"resolution": "ai-right"})["Location"] == f"/studies/{signed.pk}/"
    assert client.post(address, {"resolution": "unclear"}).status_code == 409
    client.post(f"{PAGE}{entry(north, 'Mass').pk}/", {"resolution": "report-right"})
    client.post(f"{PAGE}{entry(north, 'Pneumothorax').pk}/", {"resolution": "unclear"})
    assert listed(north) == []
    with tenant_tx(north.tenant.pk):
        measured = measured_precision()
        share = measured.of_all.share
        assert share is not None
        assert (share.confirmed, share.verdicts) == (1, 3)
        assert (measured.of_flagged.ai_right, measured.of_flagged.unclear) == (1, 1)
        assert measured.of_added.report_right == 1
    done = client.get(PAGE, {"state": "reviewed"}).text
    assert "33.3 % (6.1 to 79.2)" in done
    assert "Open the study to amend its report" in done
    sign(north, signed, {"Effusion": "agree"}, user=second)
    assert "report and AI agree by now" in client.get(PAGE, {"state": "reviewed"}).text
    assert entry(north, "Effusion").resolution == "ai-right"

    assert client.post(f"{PAGE}{entry(north, 'Pneumothorax').pk}/undo/").status_code == 302
    assert listed(north) == ["Pneumothorax"], "The amended report still differs."
    with tenant_tx(north.tenant.pk):
        assert sorted(each.label for each in reviewed()) == ["Effusion", "Mass"]
        actions = list(AuditEvent.objects.filter(action__startswith="discordance").values_list("action", flat=True))
    assert sorted(actions) == ["discordance.reopened", *["discordance.reviewed"] * 3]


def test_a_review_leads_back_to_the_page_of_the_list(
    north: Hospital, second: User, signed: Study, sign_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one finding on a page: the page of the form, or the last one where there are fewer by now."""
    monkeypatch.setattr("apps.portal.views.discordances.ON_A_PAGE", 1)
    client = sign_in(north, second)
    page = client.get(PAGE, {"state": "open", "page": "2"}).text
    assert "Pneumothorax" in page
    assert '<input type="hidden" name="page" value="2">' in page
    address = f"{PAGE}{entry(north, 'Pneumothorax').pk}/"
    answer = client.post(address, {"resolution": "unclear", "page": "2"}, follow=True)
    assert answer.redirect_chain == [(f"{PAGE}?state=open&page=2", 302)]
    assert "2 / 2" in answer.text
    address = f"{PAGE}{entry(north, 'Effusion').pk}/"
    client.post(address, {"resolution": "unclear", "page": "2"})
    assert client.post(f"{address}undo/", {"page": "2"})["Location"] == f"{PAGE}?state=reviewed&page=2"
    assert client.post(address, {"resolution": "unclear", "page": "<"})["Location"] == f"{PAGE}?state=open&page=1"


def test_what_the_ai_flags_after_a_signature_without_it_is_listed(
    north: Hospital, second: User, store_film: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    study = store_film(north, size=256).study
    with tenant_tx(north.tenant.pk):
        member = Membership.objects.get(user=north.radiologist)
        sign_report(study=study, user=north.radiologist, membership=member, impression="Normal.", without_ai=True)
    finish(north, Pneumothorax=0.9)
    assert listed(north) == ["Pneumothorax"]
    sign(north, study, {"Pneumothorax": "agree"}, user=second)
    assert listed(north) == []


def test_a_review_outlives_what_ends_and_reopens_its_discordance(
    north: Hospital, second: User, signed: Study, sign_in: Callable[..., Client]
) -> None:
    """A withdrawal that is taken back opens it again; an addendum of the second reader changes no author."""
    client, address = sign_in(north, second), f"{PAGE}{entry(north, 'Effusion').pk}/"
    stale = {"resolution": "unclear", "report": "01a20000-0000-7000-8000-000000000000"}
    assert client.post(address, stale).status_code == 409
    client.post(address, {"resolution": "ai-right", "report": str(entry(north, "Effusion").report_id)})
    with tenant_tx(north.tenant.pk):
        by: dict[str, Any] = {"user": north.radiologist, "membership": Membership.objects.get(user=north.radiologist)}
        withdraw_study(study_id=signed.pk, reason="Another patient.", **by)
        restore_study(study_id=signed.pk, **by)
        member = Membership.objects.get(user=second)
        more: dict[str, Any] = {"impression": "CT advised.", "reason": "Asked.", "is_addendum": True, "amends": 1}
        sign_report(study=signed, user=second, membership=member, **more)
    assert entry(north, "Effusion").ended_at is None
    assert "report and AI agree by now" not in client.get(PAGE, {"state": "reviewed"}).text

    author = sign_in(north, north.radiologist)
    assert author.post(f"{address}undo/").status_code == 409, "The signer takes no review of a colleague back."
    assert author.post(f"{PAGE}{entry(north, 'Mass').pk}/", {"resolution": "unclear"}).status_code == 409
    assert client.post(f"{address}undo/").status_code == 302
    assert "Effusion" in listed(north)
    assert client.post(f"{PAGE}{entry(north, 'Mass').pk}/", {"resolution": "unclear"}).status_code == 302
