"""The dashboards in a real browser: wide and narrow, light and dark, without JavaScript, and on paper."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from apps.inference.drift import WEEK, count_ended_weeks, week_of
from apps.quality.services import count_again
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects, violations
from tests.conftest import Hospital
from tests.results import version
from tests.trials.reviewed import read_studies_as_rows, sign_with_verdicts

__all__ = ["version"]
pytestmark = pytest.mark.browser


def test_an_administrator_looks_at_the_dashboards(north: Hospital, version: Any, enter: Callable[..., Page]) -> None:
    values = [{"Mass": n / 100, "Effusion": n / 80} for n in range(1, 61)]
    monday = datetime.datetime.combine(week_of(timezone.now()) - WEEK, datetime.time(9), datetime.UTC)
    read_studies_as_rows(north, version, values, finished=[monday] * len(values))
    count_ended_weeks()
    jobs = read_studies_as_rows(north, version, values, name="today")
    with tenant_tx(north.tenant.pk):
        # The rows for lists follow.
        Study.objects.update(received=timezone.now())
    sign_with_verdicts(north, jobs[:30], [{"Mass": False}] * 30)
    with tenant_tx(north.tenant.pk):
        for job in jobs[:30]:
            count_again(study_id=job.study_id)
    page = enter(north.admin)
    page.get_by_role("link", name="Dashboard").click()
    for name in ("Volume and turnaround", "Alert rate", "Agreement", "Drift"):
        page.get_by_role("link", name=name, exact=True).first.click()
        expect(page.get_by_role("img").first).to_be_visible()
        for width, scheme in ((1280, "light"), (320, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            assert defects(page) == [], (name, width)
            assert violations(page) == [], (name, width)
        page.emulate_media(media="print")
        expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
        page.emulate_media(media="screen")
    page.get_by_role("link", name="Volume and turnaround").click()
    page.get_by_role("combobox", name="Period").select_option("7 days")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(8)
    with page.expect_download() as download:
        page.get_by_role("link", name="Volume as CSV").click()
    assert download.value.path().read_text().startswith("from,to,received,")
