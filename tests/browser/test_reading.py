"""A radiologist's reading in a real browser, by keyboard alone: nothing typed is lost, and the next study is there."""

import re
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Dialog, Page, expect

from apps.reading.models import AiDisplay, ReadingPolicy
from apps.reports.models import Report
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects
from tests.conftest import PASSWORD, Hospital

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("flagging")]

STATE = "[data-draft-state]"
TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const film = performance.getEntriesByType("resource").find((each) => each.name.includes("film.png"));
    return `page ${Math.round(page.responseEnd)} ms, film ${Math.round(film.responseEnd)} ms after the start`;
}"""
SHOWN = "() => document.querySelector('#film').complete && document.querySelector('#film').naturalWidth > 0"
VIEWER = "**/static/viewer/**"


def sign_in(page: Page, hospital: Hospital) -> None:
    page.get_by_label("E-mail").fill(hospital.radiologist.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")


def set_policy(hospital: Hospital, **values: Any) -> None:
    with tenant_tx(hospital.tenant.id):
        ReadingPolicy.objects.update_or_create(defaults=values)


def leave(dialog: Dialog) -> None:
    """The browser asks whether to leave a page with unsaved text: the reader goes."""
    dialog.accept()


def test_a_radiologist_reads_without_a_mouse(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    """Worklist to signed and the next study; in between a session ends, the page reloads and a second tab writes."""
    for seed, findings in ((1, ("Effusion",)), (2, ("Pneumothorax",)), (3, ("Cardiomegaly",))):
        store_film(north, seed=seed, findings=findings, patient_name=f"READ{seed}^Film", patient_id=str(seed))
    read_studies()
    page = enter(north.radiologist, expect_statuses=(401, 403, 409), expect_lost=True)
    page.on("dialog", leave)
    # At first with the server's picture alone, whose tools are others than those of the full depth.
    page.route(VIEWER, lambda route: route.abort())
    # The first signature of a server loads what makes PDF.
    page.set_default_timeout(60_000)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/studies/"))
    page.wait_for_load_state()
    _the_film_comes_first(page)
    page.unroute(VIEWER)
    _verdicts(page)
    _nothing_typed_is_lost(page, north)
    _a_finding_of_the_reader(page)
    _sign_and_go_on(page, north)
    _four_keys(page, north)


def _the_film_comes_first(page: Page) -> None:
    overlay = page.locator("#overlay")
    expect(page.locator("tr.is-flagged").first).to_be_visible()
    expect(overlay).to_be_hidden()
    page.keyboard.down("h")
    expect(overlay).to_be_visible()
    page.wait_for_timeout(700)
    page.keyboard.up("h")
    expect(overlay).to_be_hidden()
    # A slider has the focus: its arrow keys are its own, and the letters still work.
    page.get_by_label("Brightness").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Brightness").input_value() == "101"
    page.keyboard.press("i")
    assert "invert(1)" in page.locator("#film").evaluate("film => film.style.filter")
    page.keyboard.press("i")


def _verdicts(page: Page) -> None:
    first = page.locator("#findings tbody tr").first
    pressed = first.locator(".verdict[aria-pressed=true]")
    page.keyboard.press("d")
    expect(pressed).to_have_attribute("data-verdict", "disagree")
    page.keyboard.press("d")
    expect(pressed).to_have_count(0)
    expect(page.locator("#announce")).to_contain_text("withdrawn")
    page.keyboard.press("g")
    expect(page.get_by_label("Impression")).to_be_focused()
    expect(pressed).to_have_attribute("data-verdict", "agree")
    expect(page.locator("tr.is-flagged:not(:has(.verdict[aria-pressed=true]))")).to_have_count(0)


def _nothing_typed_is_lost(page: Page, hospital: Hospital) -> None:
    field, state = page.get_by_label("Impression"), page.locator(STATE)
    page.keyboard.type("had 1 small effusion")
    expect(page.locator("#overlay")).to_be_hidden()
    expect(state).to_contain_text("Saved")
    # The session ends while the reader types.
    Session.objects.all().delete()
    page.keyboard.type(" on the right")
    expect(state).to_contain_text("You were signed out".lower())
    expect(field).to_be_focused()
    other = page.context.new_page()
    other.goto("/sign-in/")
    sign_in(other, hospital)
    expect(other.get_by_role("heading", name="Worklist")).to_be_visible()
    expect(state).to_contain_text("Saved", timeout=20_000)
    # A reload before the text is stored.
    page.keyboard.type(", no pneumothorax")
    page.context.set_offline(True)
    expect(state).to_contain_text("Trying again")
    page.context.set_offline(False)
    page.reload()
    expect(field).to_have_value("had 1 small effusion on the right, no pneumothorax")
    # The second tab of the same study stores another text.
    other.goto(page.url)
    other.get_by_label("Impression").fill("Written in the second tab.")
    expect(other.locator(STATE)).to_contain_text("Saved")
    page.keyboard.press("s")
    page.keyboard.press("End")
    page.keyboard.type("!")
    conflict = page.locator("[data-conflict]")
    expect(conflict).to_contain_text("Written in the second tab.")
    expect(conflict).to_contain_text("no pneumothorax!")
    page.get_by_role("button", name="Keep my text").press("Enter")
    expect(conflict).to_be_hidden()
    expect(state).to_contain_text("Saved")
    other.close()


def _a_finding_of_the_reader(page: Page) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.keyboard.type("Rib fracture")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Draw a box")).to_be_focused()
    page.keyboard.press("Enter")
    box = page.locator("#box")
    expect(box).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator(".own-findings")).to_contain_text("Rib fracture")
    expect(page.locator(".reader-box")).to_have_text("Rib fracture")


def _sign_and_go_on(page: Page, hospital: Hospital) -> None:
    before = page.url
    # The next film is fetched while this one is read.
    page.wait_for_timeout(2500)
    page.keyboard.press("s")
    started = time.monotonic()
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: url != before and "/studies/" in url)
    page.wait_for_function(SHOWN)
    sys.stdout.write(f"\nsigned, and the next study shown after {time.monotonic() - started:.2f} s\n")
    with tenant_tx(hospital.tenant.id):
        assert "no pneumothorax!" in Report.objects.get().impression
    page.wait_for_load_state()
    page.wait_for_timeout(2500)
    here = page.url
    started = time.monotonic()
    page.keyboard.press("n")
    page.wait_for_url(lambda url: url != here and "/studies/" in url)
    page.wait_for_function(SHOWN)
    sys.stdout.write(f"next study shown after {time.monotonic() - started:.2f} s; {page.evaluate(TIMES)}\n")


def _four_keys(page: Page, hospital: Hospital) -> None:
    """From the worklist to the signature, beside the text itself: open, agree, sign."""
    page.goto("/")
    page.wait_for_load_state()
    keys = ["j", "Enter"]
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_url(re.compile("/studies/"))
    page.wait_for_load_state()
    here = page.url
    page.keyboard.press("g")
    expect(page.get_by_label("Impression")).to_be_focused()
    page.keyboard.type("No change.")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: url != here)
    assert len([*keys, "g", "Control+Enter"]) <= 4
    with tenant_tx(hospital.tenant.id):
        assert Report.objects.filter(impression="No change.").exists()


def test_the_ai_is_shown_after_the_impression(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    """Blind first, with a password at the signature; the page stays sound in every look."""
    set_policy(north, ai_display=AiDisplay.BLIND_FIRST, sign_with_password=True)
    address = f"/studies/{store_film(north, seed=1, findings=('Effusion',)).study.pk}/"
    read_studies()
    page = enter(north.radiologist, expect_statuses=(400, 403), reduced_motion="reduce")
    page.set_default_timeout(60_000)
    page.set_viewport_size({"width": 320, "height": 800})
    page.goto(address)
    expect(page.locator("#findings")).to_have_count(0)
    found = {"blind": defects(page)}
    page.keyboard.press("s")
    page.keyboard.type("Normal.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#findings tbody tr")).to_have_count(14)
    expect(page.locator("[data-committed]")).to_contain_text("Normal.")
    found["shown"] = defects(page)
    page.get_by_label("Switch between light and dark").click()
    found["other theme"] = defects(page)
    page.keyboard.press("g")
    page.keyboard.type(" Small effusion after all.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_label("Your password")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-problem]")).to_contain_text("Not signed.")
    expect(page.get_by_label("Your password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("signed")).not_to_have_count(0)
    page.wait_for_url(lambda url: not url.endswith(address))
    page.goto(address)
    expect(page.locator("[data-committed]")).to_contain_text("Normal.")
    page.get_by_text("Amend this report").click()
    found["signed"] = defects(page)
    assert {name: each for name, each in found.items() if each} == {}


def test_a_film_that_the_ai_did_not_read_is_reported(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    """The result that arrives while the reader types changes neither the text nor the focus."""
    store_film(north, seed=1)
    stored = store_film(north, seed=2, view_position="LL")
    page = enter(north.radiologist)
    page.set_default_timeout(60_000)
    page.goto(f"/studies/{stored.study.pk}/")
    page.keyboard.press("s")
    page.keyboard.type("Lateral view: no effus")
    read_studies()
    expect(page.locator("#status-chip")).to_have_text("Not read")
    expect(page.get_by_label("Impression")).to_be_focused()
    page.keyboard.type("ion.")
    expect(page.get_by_label("Impression")).to_have_value("Lateral view: no effusion.")
    expect(page.get_by_text("The report says that no AI reading was used.")).to_be_visible()
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: str(stored.study.pk) not in url)
