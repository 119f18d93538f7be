"""Operating points in a real browser: slider, choice and history, on wide and narrow screens."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.deployment.selectors import thresholds_for
from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.results import read, version

__all__ = ["read", "version"]
pytestmark = pytest.mark.browser


def test_an_administrator_chooses_a_point(
    north: Hospital, version: Any, read: Any, store_film: Any, enter: Callable[..., Page]
) -> None:
    for seed, probability in enumerate((0.9, 0.7, 0.2)):
        read(store_film(north, seed=seed, size=256).instance, Mass=probability)
    page = enter(north.admin)
    page.get_by_role("link", name="Operating points").click()
    expect(page.get_by_text("No changes yet")).to_be_visible()
    assert defects(page) == []
    page.get_by_role("link", name="Mass").click()
    slider = page.get_by_role("slider", name="Threshold")
    flagged = page.locator("#what-if [data-figure=flagged]")
    expect(flagged).to_have_text("2")
    slider.focus()
    slider.press("Home")
    expect(flagged).to_have_text("3")
    expect(page.locator("input[name=value]")).to_have_value("0.2000")
    for width in (1280, 380):
        page.set_viewport_size({"width": width, "height": 900})
        assert defects(page) == []
    # A user who moves the slider sets the threshold by hand.
    expect(page.locator("select[name=strategy]")).to_have_value("manual")
    page.locator("textarea[name=reason]").fill("Nobody should be missed.")
    page.get_by_role("button", name="Use this operating point").click()
    expect(page.get_by_text("has the new operating point")).to_be_visible()
    expect(page.locator(".changes")).to_contain_text("Nobody should be missed.")
    assert defects(page) == []
    assert thresholds_for(version, north.tenant.id)["Mass"] == 0.2
