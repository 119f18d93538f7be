"""The review of a signed report that differs from the AI, in a real browser, wide and narrow, light and dark."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.studies.models import Study
from apps.tenants.models import Role
from apps.tenants.services import add_member
from tests.browser.audit import violations
from tests.browser.test_critical import look
from tests.conftest import PASSWORD, Hospital
from tests.quality.reading import sign
from tests.quality.test_counts import count
from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]
pytestmark = pytest.mark.browser


def test_a_second_reader_reviews_by_keyboard(
    north: Hospital, version: object, read_study: Callable[..., Study], enter: Callable[..., Page]
) -> None:
    study = read_study(north, {"size": 256, "patient_name": "DOE^Jane"}, Mass=0.8, Effusion=0.7)
    sign(north, study, {"Mass": "disagree"}, added=["Pneumothorax"])
    count(north, version, 14, 84)
    second = User.objects.create_user("second@north.example", PASSWORD, full_name="Second Reader")
    add_member(tenant=north.tenant, user_id=second.pk, role=Role.RADIOLOGIST)
    page = enter(second)
    page.get_by_role("link", name="Quality").press("Enter")
    expect(page.get_by_role("cell", name="14 of 85")).to_be_visible()
    look(page)
    page.get_by_role("link", name="For review").press("Enter")
    expect(page.get_by_role("heading", name="Mass · DOE, Jane")).to_be_visible()
    look(page)
    assert violations(page) == []
    page.get_by_role("button", name="Unclear Pneumothorax, DOE, Jane").press("Enter")
    expect(page.get_by_text("Stored. It can be undone under Reviewed.")).to_be_visible()
    page.get_by_role("button", name="The AI was right: the report is to be amended Mass, DOE, Jane").press("Enter")
    expect(page.get_by_text("The report stays as it is until it is amended")).to_be_visible()
    expect(page.get_by_text("At this site 1 in 6 flagged like this was confirmed")).to_be_visible()
    page.goto("/quality/review/?state=reviewed")
    expect(page.get_by_role("row", name="All")).to_contain_text("50.0 %")
    look(page)
    assert violations(page) == []
    page.get_by_role("button", name="Undo Mass, DOE, Jane").press("Enter")
    expect(page.get_by_text("Undone. It waits for a review again.")).to_be_visible()
