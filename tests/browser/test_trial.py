"""The trial page in a real browser, on a wide and a narrow screen."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from apps.audit.services import Actor
from apps.deployment.models import Challenger
from apps.deployment.services import activate, challenge
from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.registry.versions import registered
from tests.trials.pairs import read_by_both

pytestmark = pytest.mark.browser


def test_from_the_figures_to_the_disagreements(north: Hospital, enter: Callable[..., Page]) -> None:
    activate(version=registered(1), by=Actor(name="test"))
    challenge(version=registered(2, scale=0.5), by=Actor(name="test"))
    trial = Challenger.objects.select_related("model_version", "against").get()
    read_by_both(north, trial, [({"Mass": 0.9}, {"Mass": 0.1}), ({}, {"Edema": 0.4})] + [({}, {})] * 118)
    page = enter(north.admin)
    page.get_by_role("link", name="Model on trial").click()
    expect(page.get_by_role("heading", name="Promote is supported")).to_be_visible()
    assert defects(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert defects(page) == []
    page.get_by_role("link", name="Edema", exact=True).click()
    rows = page.locator("#disputed tbody tr")
    expect(rows).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as CSV").click()
    assert download.value.suggested_filename == "disagreement-chest-net-2.csv"
    # An administrator is no clinician: a case has a number, and no link to its study.
    expect(rows).to_contain_text("Case")
    expect(rows.get_by_role("link")).to_have_count(0)
