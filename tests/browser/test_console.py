"""The operator's what-if page in a real browser: the slider changes the figures and the threshold of the form."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.deployment.selectors import thresholds_for
from tests.browser.audit import violations
from tests.conftest import PASSWORD, Hospital
from tests.results import read, version

__all__ = ["read", "version"]
pytestmark = pytest.mark.browser


def test_the_slider_shows_what_a_threshold_would_do(
    north: Hospital,
    version: Any,
    read: Any,
    store_film: Any,
    open_page: Callable[..., Page],
) -> None:
    for seed, probability in enumerate((0.9, 0.7, 0.2)):
        read(store_film(north, seed=seed, size=256).instance, Mass=probability)
    User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True)
    page = open_page()
    page.goto("/admin/login/?next=/admin/deployment/operatingpoint/what-if/north/%3Flabel=Mass")
    page.locator("#id_username").fill("operator@platform.example")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("input[type=submit]").click()

    slider = page.get_by_label("Threshold").first
    flagged = page.locator("#what-if [data-figure=flagged]")
    expect(flagged).to_have_text("2")
    slider.focus()
    slider.press("End")
    expect(flagged).to_have_text("1")
    expect(page.locator("#what-if [data-figure=threshold]")).to_have_text("0.900")
    slider.press("Home")
    expect(flagged).to_have_text("3")
    expect(page.locator("input[name=value]")).to_have_value("0.2000")

    page.locator("select[name=strategy]").select_option("manual")
    page.locator("textarea[name=reason]").fill("Nobody should be missed.")
    page.get_by_role("button", name="Use this operating point").click()
    expect(page.get_by_text("0.200 (now)")).to_be_visible()
    assert thresholds_for(version, north.tenant.id)["Mass"] == 0.2


def test_the_consoles_pages_have_no_accessibility_defect(
    north: Hospital, version: Any, open_page: Callable[..., Page]
) -> None:
    User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True)
    page = open_page(viewport={"width": 1024, "height": 800})
    page.goto("/admin/login/")
    page.locator("#id_username").fill("operator@platform.example")
    page.locator("#id_password").fill(PASSWORD)
    assert violations(page) == []
    page.locator("input[type=submit]").click()
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    assert violations(page) == []
    for path in (
        "deployment/deployment/",
        "deployment/deployment/roll-back/",
        "registry/modelversion/",
        "inference/worker/",
    ):
        page.goto(f"/admin/{path}")
        assert violations(page) == [], path
