"""The rules about arriving objects in a real browser: made, put in order, tested and restored."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.audit import defects
from tests.conftest import Hospital

pytestmark = pytest.mark.browser


def test_an_administrator_makes_and_tests_rules(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Path]
) -> None:
    page = enter(north.admin)

    def has_no_defects() -> None:
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert defects(page) == []

    page.get_by_role("link", name="Hospital settings").click()
    page.get_by_role("link", name="Rules").click()
    for name, action, priority in (("Wards", "Store only", None), ("Emergency", "Read", "STAT")):
        page.get_by_role("link", name="New rule").click()
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_label("What happens").select_option(label=action)
        if priority:
            page.get_by_label("Priority of the reading").select_option(value="2")
        page.get_by_label("Study description").fill("Chest*")
        if name == "Wards":
            has_no_defects()
        page.get_by_role("button", name="Save the rule").click()
    page.get_by_role("button", name="Up Emergency").click()
    expect(page.get_by_role("link", name="1. Emergency")).to_be_visible()
    has_no_defects()
    page.get_by_role("link", name="Test an object").click()
    page.get_by_label("File").set_input_files(make_film(size=256))
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_role("heading", name="Read (priority STAT)")).to_be_visible()
    has_no_defects()
    page.get_by_role("link", name="All rules").click()
    page.get_by_role("button", name="Remove Emergency").click()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Removed: Emergency")).to_be_visible()
    has_no_defects()
    page.get_by_role("button", name="Restore version 3").click()
    expect(page.get_by_role("link", name="1. Emergency")).to_be_visible()
