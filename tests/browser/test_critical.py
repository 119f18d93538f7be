"""Critical findings in a real browser: a rule, the banner that comes by itself, the acknowledgement by keyboard."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.critical.conftest import flag, read_waiting, version

__all__ = ["flag", "read_waiting", "version"]
pytestmark = pytest.mark.browser


def look(page: Page) -> None:
    """The page in both themes, wide and narrow."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        # Buttons take a moment for their new colours.
        page.wait_for_timeout(250)
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert defects(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_critical_finding_from_the_rule_to_the_acknowledgement(
    north: Hospital, flag: Callable[..., object], enter: Callable[..., Page]
) -> None:
    admin = enter(north.admin)
    admin.goto("/settings/critical/")
    expect(admin.get_by_text("No finding is critical yet")).to_be_visible()
    admin.get_by_label("Finding").select_option("Pneumothorax")
    admin.get_by_role("group", name="Notified first").get_by_label("radiologist of north").check()
    admin.get_by_role("button", name="Add the rule").click()
    expect(admin.get_by_text("Saved.")).to_be_visible()
    look(admin)
    admin.get_by_role("link", name="Pneumothorax").click()
    look(admin)

    page = enter(north.radiologist)
    page.goto("/critical/")
    expect(page.get_by_role("heading", name="Nothing waits")).to_be_visible()
    page.clock.install()
    page.goto("/")
    flag(north, {"patient_name": "DOE^Jane"}, Pneumothorax=0.9)
    # The page stays open: the banner comes by itself.
    page.clock.fast_forward(31_000)
    banner = page.locator("#critical-banner")
    expect(banner).to_contain_text("1 critical result waits for your acknowledgement.")
    assert defects(page) == []
    page.get_by_role("link", name="Open the critical results").press("Enter")
    expect(page.get_by_role("heading", name="Pneumothorax · DOE, Jane")).to_be_visible()
    look(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Open the study")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Dr. Ward")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Stored in your name.")).to_be_visible()
    expect(banner).to_be_empty()
    page.get_by_role("link", name="Acknowledged").press("Enter")
    page.get_by_text("What happened so far").press("Enter")
    expect(page.get_by_text("Informed: Dr. Ward")).to_be_visible()
    look(page)
    admin.goto("/critical/?state=acknowledged")
    expect(admin.get_by_role("heading", name="A critical result · DOE, Jane")).to_be_visible()
    expect(admin.get_by_text("Pneumothorax")).to_have_count(0)
