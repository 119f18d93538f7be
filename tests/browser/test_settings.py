"""Members and keys in a real browser: from an invitation link to the worklist, and a new key."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.audit import defects
from tests.conftest import Hospital

pytestmark = pytest.mark.browser
NEW_PASSWORD = "seven lamps on a quiet shore"


def test_an_administrator_invites_a_reader_and_makes_a_key(
    north: Hospital, enter: Callable[..., Page], open_page: Callable[..., Page]
) -> None:
    page = enter(north.admin)
    page.get_by_role("link", name="Hospital settings").click()
    expect(page.get_by_role("heading", name="Invite a person")).to_be_visible()
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 900})
        assert defects(page) == []
    page.get_by_label("E-mail").fill("new.reader@north.example")
    page.get_by_label("Role").select_option("Radiologist")
    page.get_by_role("button", name="Make the invitation").click()
    link = page.locator("#link").inner_text()
    assert defects(page) == []

    reader = open_page()
    reader.goto(link)
    reader.wait_for_load_state("load")
    assert defects(reader) == []
    reader.get_by_label("Your name").fill("Dr. New Reader")
    reader.get_by_label("Password").fill("Password2026!")
    reader.get_by_label("The same again").fill("Password2026!")
    reader.get_by_role("button", name="Create the account and join").click()
    expect(reader.get_by_text("common password with something added")).to_be_visible()
    assert defects(reader) == []
    reader.get_by_label("Password").fill(NEW_PASSWORD)
    reader.get_by_label("The same again").fill(NEW_PASSWORD)
    reader.get_by_role("button", name="Create the account and join").click()
    expect(reader.get_by_text("Dr. New Reader")).to_be_visible()

    page.get_by_role("link", name="Back to the people").click()
    page.get_by_role("link", name="Dr. New Reader").click()
    expect(page.get_by_role("heading", name="Lost password")).to_be_visible()
    assert defects(page) == []
    page.get_by_role("button", name="Remove Dr. New Reader").click()
    expect(page.get_by_text("no longer a member")).to_be_visible()
    reader.reload()
    expect(reader.get_by_text("You belong to no hospital yet")).to_be_visible()

    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_role("heading", name="New key")).to_be_visible()
    assert defects(page) == []
    page.get_by_label("Name").fill("RIS")
    page.get_by_role("button", name="Make the key").click()
    expect(page.locator("#secret")).to_contain_text("chx_")
    assert defects(page) == []
    page.get_by_role("link", name="Back to the keys").click()
    page.get_by_role("button", name="Revoke RIS").click()
    expect(page.get_by_text("The key RIS is refused from now on.")).to_be_visible()
    assert defects(page) == []
