"""The portal in German in a real browser, and a text that is inserted by its name and the Tab key."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.reading.models import ReadingPolicy, TextBlock
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects
from tests.conftest import Hospital

pytestmark = pytest.mark.browser


def test_a_german_reader_inserts_a_text(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    page = enter(north.radiologist)
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.create(language="de")
        TextBlock.objects.create(name="unauffällig", text="Herz und Lunge unauffällig.")
    store_film(north, patient_name="Muster^Maria")
    page.reload()
    expect(page.get_by_role("link", name="Arbeitsliste", exact=True)).to_be_visible()
    # A key that is pressed before the page's scripts have run is lost; they run before "load".
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("link", name="Muster").click()
    impression = page.get_by_label("Beurteilung")
    impression.click()
    page.keyboard.type("Aufnahme im Stehen. .unauffällig")
    page.keyboard.press("Tab")
    expect(impression).to_have_value("Aufnahme im Stehen. Herz und Lunge unauffällig.")
    expect(impression).to_be_focused()
    page.get_by_label("Text einfügen").select_option("normal")
    page.get_by_role("button", name="Einfügen", exact=True).click()
    expect(impression).to_have_value(re.compile("unauffällig.Kein Anhalt für Atelektase, .* oder Hernie[.]$"))
    assert defects(page) == []
