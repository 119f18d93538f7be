"""A hospital's destinations in a real browser: without JavaScript needed, in both themes, wide and narrow."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_critical import look
from tests.conftest import Hospital
from tests.core.receiving import receiver
from tests.delivery.acting import allow_loopback, make_due, send

pytestmark = pytest.mark.browser


def test_an_archive_is_added_tested_and_sent_to_again(north: Hospital, enter: Callable[..., Page]) -> None:
    allow_loopback(north)
    page = enter(north.admin)
    page.goto("/settings/destinations/")
    expect(page.get_by_role("heading", name="Results stay here")).to_be_visible()
    look(page)
    page.get_by_role("link", name="DICOMweb (STOW-RS)").click()
    page.get_by_label("Name").fill("Archive of the hospital")
    page.get_by_label("URL").fill("https://192.168.1.7/dicom-web/studies")
    page.get_by_label("Structured Report").check()
    page.get_by_role("button", name="Add the destination").click()
    expect(page.get_by_role("alert")).to_contain_text("not a public address")
    look(page)
    with receiver() as archive:
        archive.answers = [503] * 10
        page.get_by_label("URL").fill(archive.url)
        page.get_by_role("button", name="Add the destination").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_text("A test was queued")).to_be_visible()
        for _ in range(10):
            make_due(north)
            send()
        page.reload()
        expect(page.get_by_role("row").filter(has_text="The receiver answered 503")).to_contain_text("given up")
        look(page)
        page.goto("/settings/destinations/")
        expect(page.get_by_role("row", name="Archive of the hospital")).to_contain_text("not reached")
        look(page)
        page.get_by_role("link", name="Archive of the hospital").click()
        page.get_by_role("button", name="Send again what was given up (1)").click()
        send()
        page.reload()
        expect(page.get_by_role("row").filter(has_text="Test")).to_contain_text("arrived")
