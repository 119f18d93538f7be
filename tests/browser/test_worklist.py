"""The worklist in a real browser: by keyboard from the list to a study and back to the same place, and sound pages."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.studies.models import Patient, Study
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.reports.conftest import finish, read_study, version

pytestmark = pytest.mark.browser

__all__ = ["finish", "read_study", "version"]


def many_studies(hospital: Hospital, count: int) -> None:
    with tenant_tx(hospital.tenant.id):
        patient = Patient.objects.create(patient_id="P")
        for number in range(count):
            Study.objects.create(
                patient=patient, patient_name=f"FILM^{number:02}", study_instance_uid=f"2.25.{number}",
                demographics_key=[f"film^{number:02}", "", "", "", ""],
            )  # fmt: skip


def test_from_the_list_to_a_study_and_back_to_the_same_place(north: Hospital, enter: Callable[..., Page]) -> None:
    many_studies(north, 60)
    # These studies have no image.
    page = enter(north.radiologist, expect_statuses=(404,))
    page.goto("/?sort=oldest")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Open the study")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Select at least one study first.")
    page.locator("[name=study]").first.check()
    expect(page.locator("#none-selected")).to_be_hidden()
    page.locator("[name=study]").first.uncheck()
    page.keyboard.press("/")
    page.keyboard.type("film")
    with page.expect_navigation(wait_until="load"):
        page.keyboard.press("Enter")
    assert page.url.endswith("/?sort=oldest")
    for _ in range(30):
        page.keyboard.press("j")
    page.keyboard.press("ArrowUp")
    link = page.get_by_role("link", name="FILM, 28")
    expect(link).to_be_focused()
    top = page.evaluate("scrollY")
    assert top > 500
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("FILM, 28")
    page.get_by_role("link", name="Back to the worklist").focus()
    page.keyboard.press("Enter")
    expect(link).to_be_focused()
    assert abs(page.evaluate("scrollY") - top) < 3
    assert page.url.endswith("/?sort=oldest")
    expect(page.locator("#text")).to_have_value("film")
    expect(page.locator("tr:not(.is-unread) .open-study")).to_have_text("FILM, 28")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("FILM, 28")
    page.go_back()
    expect(link).to_be_focused()
    assert abs(page.evaluate("scrollY") - top) < 3
    page.keyboard.press("x")
    page.locator("#do").select_option("priority:stat")
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator("tr", has=link)).to_contain_text("STAT")
    page.keyboard.press("n")
    expect(page.get_by_text("Studies 51 to 60")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 320)])
def test_the_list_is_sound(
    north: Hospital, enter: Callable[..., Page], read_study: Callable[..., Study], store_film: Callable[..., Any],
    scheme: str, width: int,
) -> None:  # fmt: skip
    read_study(north, {"seed": 1, "patient_name": "DOE^Jane"}, Pneumothorax=0.6, Mass=0.7)
    store_film(north, seed=2, patient_name="ROE^Ann")
    look: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    page = enter(north.radiologist, **look)
    for summary in page.locator("summary").all():
        summary.click()
    page.get_by_label("Name of this view").fill("Night shift")
    page.get_by_role("button", name="Save this view").click()
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("input[name=study]").first.check()
    assert defects(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_poll_without_news_has_no_body(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    store_film(north, patient_name="DOE^Jane")
    page = enter(north.radiologist)
    with page.expect_response(lambda response: response.status == 304) as same:
        pass
    assert same.value.request.headers["if-none-match"].startswith('W/"')
