"""Operating points in a real browser: slider, choice and history, on wide and narrow screens."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.deployment.selectors import thresholds_for
from apps.inference.drift import WEEK, count_ended_weeks, week_of
from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.results import read, version
from tests.trials.reviewed import read_studies_as_rows

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


def test_an_administrator_declares_a_prevalence_and_sees_the_other_pages_of_the_model(
    north: Hospital, version: Any, enter: Callable[..., Page]
) -> None:
    counts = {label: {"positives": 100} for label in version.manifest["labels"]}
    version.manifest["metrics"]["validation"] = {"n": 1000, "labels": counts}
    version.save()
    weeks = [{"Mass": n / 100, "Effusion": n / 80} for n in range(1, 61)]
    monday = datetime.datetime.combine(week_of(timezone.now()) - WEEK, datetime.time(9), datetime.UTC)
    read_studies_as_rows(north, version, weeks, finished=[monday] * len(weeks))
    count_ended_weeks()
    page = enter(north.admin)
    page.get_by_role("link", name="Operating points").click()
    page.get_by_role("link", name="Probabilities").click()
    assert defects(page) == []
    page.get_by_label("Share of your studies with Mass").fill("0.02")
    page.get_by_role("button", name="Preview").first.click()
    expect(page.get_by_role("heading", name="What it would change")).to_be_visible()
    page.get_by_label("Reason").fill("Audit of one year.")
    assert defects(page) == []
    page.get_by_role("button", name="Put into force").click()
    expect(page.get_by_text("apply from the next result on")).to_be_visible()
    page.get_by_role("button", name="Take back the last change").click()
    expect(page.get_by_text("The own probabilities of")).to_be_visible()
    for link in ("Drift", "Reviewed studies", "Change plan"):
        page.get_by_role("link", name=link, exact=True).click()
        for width in (1280, 380):
            page.set_viewport_size({"width": width, "height": 900})
            assert defects(page) == [], link
