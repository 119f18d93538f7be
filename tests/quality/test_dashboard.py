"""The dashboards: what they count on which day, what they leave out, who sees them, and their tables as CSV."""

import csv
import datetime
import io
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.core.csv_text import as_csv
from apps.core.work_queue import JobState
from apps.deployment.models import DriftWeek
from apps.inference.drift import WEEK, week_of
from apps.inference.models import InferenceJob
from apps.quality.dashboard.activity import Volume, activity
from apps.quality.dashboard.agreement import agreement_by_label, agreement_by_step
from apps.quality.dashboard.alerts import ANY, alerts_by_step, alerts_by_version
from apps.quality.dashboard.scope import Scope
from apps.quality.services import count_again
from apps.reading.models import ReadingPolicy
from apps.studies.models import Series, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.results import version
from tests.trials.reviewed import read_studies_as_rows, sign_with_verdicts

__all__ = ["version"]

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
MONDAY = datetime.date(2026, 3, 23)
UTC = datetime.UTC
PAGES = [reverse(f"portal:{name}") for name in ("dashboard", "dashboard-alerts", "dashboard-drift")]
OWN = {"period": "own", "first": "2026-03-23", "last": "2026-04-05"}


def scope(**chosen: Any) -> Scope:
    """Two weeks, in which Berlin's clocks go forward."""
    values: dict[str, Any] = {"first": MONDAY, "last": MONDAY + datetime.timedelta(13), "step": "day", "zone": BERLIN}
    return Scope(**values | chosen)


def arrived(
    hospital: Hospital, jobs: Sequence[InferenceJob], times: Sequence[datetime.datetime], minutes: float
) -> None:
    """Let the studies arrive at these times, and their results so many minutes later."""
    with tenant_tx(hospital.tenant.pk):
        for job, at in zip(jobs, times, strict=True):
            InferenceJob.objects.filter(pk=job.pk).update(created=at, finished=at + datetime.timedelta(minutes=minutes))
            Study.objects.filter(pk=job.study_id).update(received=at)


@pytest.fixture
def march(north: Hospital, version: Any) -> list[InferenceJob]:
    """Two studies around a midnight of Berlin, while Effusion was stopped; then eleven with a flagged Mass."""
    values = [{"Mass": 0.1}] * 2 + [{"Mass": 0.9, "Effusion": 0.6, "Hernia": 0.9}] * 11
    jobs = read_studies_as_rows(north, version, values)
    with tenant_tx(north.tenant.pk):
        stopped = [{"code": "ai-stopped", "detail": ""}]
        InferenceJob.objects.filter(pk__in=[job.pk for job in jobs[:2]]).update(warnings=stopped)
    times = [datetime.datetime(2026, 3, 25, hour, 30, tzinfo=UTC) for hour in (22, 23)]
    times += [datetime.datetime(2026, 3, 29, 22, 30, tzinfo=UTC)] * 11
    arrived(north, jobs, times, 4)
    return jobs


def test_a_study_counts_on_the_day_of_the_hospital_on_which_it_arrived(
    north: Hospital, south: Hospital, version: Any, march: list[InferenceJob]
) -> None:
    sign_with_verdicts(north, march[:1], [{"Mass": False}])
    other = read_studies_as_rows(south, version, [{"Mass": 0.9}], name="other")
    arrived(south, other, [datetime.datetime(2026, 3, 25, 12, tzinfo=UTC)], 1)
    with tenant_tx(north.tenant.pk):
        InferenceJob.objects.filter(pk=march[2].pk).update(state=JobState.REJECTED, reason_code="not-chest", reason="x")
        InferenceJob.objects.filter(pk=march[3].pk).update(state=JobState.FAILED, reason_code="x", reason="x")
        InferenceJob.objects.filter(pk=march[4].pk).update(state=JobState.QUEUED, finished=None)
        Study.objects.filter(pk=march[5].study_id).update(withdrawn=timezone.now())
        by_day, whole = activity(scope())
        assert len(by_day) == 14
        assert by_day[datetime.date(2026, 3, 25)].volume == Volume(received=1, read=1, signed=1)
        assert by_day[datetime.date(2026, 3, 26)].volume == Volume(received=1, read=1)
        # After the change of the clocks 22:30 UTC is half past midnight.
        assert by_day[datetime.date(2026, 3, 29)].volume == Volume()
        assert by_day[datetime.date(2026, 3, 30)].volume == Volume(10, read=7, refused=1, failed=1, waiting=1)
        assert (whole.volume.received, whole.volume.signed) == (12, 1)
        assert whole.result.median == whole.result.p90 == datetime.timedelta(minutes=4)
        assert (whole.result.count, whole.signature.count) == (9, 1)
        by_week, _ = activity(scope(step="week", last=MONDAY + datetime.timedelta(8)))
        assert [each.volume.received for each in by_week.values()] == [2, 10]
    with tenant_tx(south.tenant.pk):
        assert activity(scope())[1].volume == Volume(received=1, read=1)


def test_percentiles_and_the_first_signature(north: Hospital, version: Any) -> None:
    jobs = read_studies_as_rows(north, version, [{"Mass": 0.1}] * 11)
    start = datetime.datetime(2026, 3, 24, 9, tzinfo=UTC)
    for number, job in enumerate(jobs):
        arrived(north, [job], [start], number)
    sign_with_verdicts(north, jobs[:1], [{}])
    with tenant_tx(north.tenant.pk):
        _, whole = activity(scope())
        assert whole.result.median == datetime.timedelta(minutes=5)
        assert whole.result.p90 == datetime.timedelta(minutes=9)
        assert whole.signature.median is not None
        assert whole.signature.median > datetime.timedelta(days=30)


def test_the_modality_is_that_of_a_series(north: Hospital, march: list[InferenceJob]) -> None:
    with tenant_tx(north.tenant.pk):
        Series.objects.filter(study=march[0].study_id).update(modality="CR")
        Series.objects.create(study_id=march[0].study_id, series_instance_uid="1.2.4", modality="CR")
        assert activity(scope(modality="CR"))[1].volume == Volume(received=1, read=1)
        assert alerts_by_step(scope(modality="CR"))[datetime.date(2026, 3, 25)].read == 1


def test_alert_rates_are_by_version_and_say_nothing_of_a_few_patients(
    north: Hospital, version: Any, march: list[InferenceJob]
) -> None:
    expected = {"what": "flagged", "label": "Mass", "value": 0.9, "expected": 0.2, "p_value": 1e-9}
    DriftWeek.objects.create(
        for_tenant=north.tenant, model_version=version, week=MONDAY, read=20, refused=0, figures=[expected],
        alarms=[expected],
    )  # fmt: skip
    with tenant_tx(north.tenant.pk):
        (found,) = alerts_by_version(scope(), north.tenant)
        rates = {each.label: each for each in found.rates}
        assert (rates[ANY].read, rates[ANY].flagged) == (13, 11)
        interval = rates[ANY].interval
        assert interval is not None
        assert interval.low < 11 / 13 < interval.high
        assert (rates["Mass"].flagged, rates["Mass"].expected, rates["Mass"].is_outside) == (11, 0.2, True)
        # Effusion was stopped for two of the studies. Hernia has no operating point.
        assert (rates["Effusion"].read, rates["Effusion"].flagged) == (11, 11)
        assert "Hernia" not in rates
        steps = alerts_by_step(scope())
        assert steps[datetime.date(2026, 3, 30)].share == 1.0
        assert steps[datetime.date(2026, 3, 25)].share is None


def test_agreement_is_of_the_studies_of_the_period(
    north: Hospital, south: Hospital, march: list[InferenceJob], sign_in: Callable[..., Client]
) -> None:
    """Mass: two right calls of absence, eight confirmed flags and three that were not; Effusion: one confirmed."""
    truth = [{"Mass": False}] * 2 + [{"Mass": True}] * 7 + [{"Mass": True, "Effusion": True}] + [{"Mass": False}] * 3
    sign_with_verdicts(north, march, truth)
    with tenant_tx(north.tenant.pk):
        for job in march:
            count_again(study_id=job.study_id)
        whole, effusion, mass = agreement_by_label(scope())
        assert (whole.verdicts, whole.agreed, effusion.label, effusion.share) == (14, 11, "Effusion", None)
        assert (mass.agreed, mass.disagreed, mass.confirmed, mass.flags) == (10, 3, 8, 11)
        assert mass.share == pytest.approx(10 / 13)
        steps = agreement_by_step(scope())
        assert [each.verdicts for each in steps.values() if each.verdicts] == [1, 1, 12]
        assert agreement_by_label(scope(last=MONDAY))[0].verdicts == 0
    page = sign_in(north, north.admin).get("/dashboard/agreement/", OWN).text
    assert "76.9 %" in page
    assert "too few studies" in page
    assert "No verdicts on studies of this period" in sign_in(south, south.admin).get("/dashboard/agreement/", OWN).text
    table = sign_in(north, north.admin).get("/dashboard/agreement.csv", OWN).text
    assert "Mass,13,10,3,0,0,0.769231," in table
    assert len(sign_in(north, north.admin).get("/dashboard/agreement-over-time.csv", OWN).text.splitlines()) == 15


def test_an_administrator_sees_the_pages_and_another_hospital_nothing_of_them(
    north: Hospital, south: Hospital, version: Any, march: list[InferenceJob], sign_in: Callable[..., Client]
) -> None:
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(time_zone="Europe/Berlin")
    admin, other = sign_in(north, north.admin), sign_in(south, south.admin)
    volume, alerts, drift = (admin.get(page, OWN).text for page in PAGES)
    assert "<dt>Received</dt><dd>13</dd>" in volume
    assert "4 min" in volume
    assert volume.count("<svg xmlns") == 3
    assert "84.6 %" in alerts
    assert "too few studies" in alerts
    assert "No week has ended yet" in drift
    assert "/dashboard/" in admin.get("/").text
    assert "/dashboard/" not in sign_in(north, north.radiologist).get("/").text
    for page in (volume, alerts):
        assert not [job for job in march if str(job.study_id) in page]
    assert "No study arrived in this period" in other.get(PAGES[0], OWN).text
    assert "The AI read no study of this period" in other.get(PAGES[1], OWN).text


def test_a_wrong_period_is_named_and_the_default_shown(north: Hospital, sign_in: Callable[..., Client]) -> None:
    admin = sign_in(north, north.admin)
    for query, error in (
        ({"period": "own"}, "Enter the first and the last day."),
        ({**OWN, "last": "2026-01-01"}, "The last day is before the first."),
        ({**OWN, "first": "2020-01-01"}, "Choose at most 366 days."),
        ({**OWN, "first": "0001-01-01"}, "greater than or equal to"),
        ({**OWN, "last": "9999-12-31"}, "less than or equal to"),
        ({**OWN, "first": "x"}, "Enter a valid date."),
        ({"period": "12"}, "Select a valid choice"),
    ):
        page = admin.get(PAGES[0], query)
        assert page.status_code == 200
        assert error in page.text
        refused = admin.get(reverse("portal:dashboard-csv", args=["volume"]), query)
        assert refused.status_code == 400
        assert error.rstrip(".") in refused.text


def test_each_table_as_csv(
    north: Hospital, south: Hospital, march: list[InferenceJob], sign_in: Callable[..., Client]
) -> None:
    admin, other = sign_in(north, north.admin), sign_in(south, south.admin)

    def table(client: Client, name: str) -> list[dict[str, str]]:
        answer = client.get(reverse("portal:dashboard-csv", args=[name]), OWN)
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        assert f'filename="{name}-2026-03-23-2026-04-05.csv"' in answer["Content-Disposition"]
        return list(csv.DictReader(io.StringIO(answer.text)))

    volume = table(admin, "volume")
    assert len(volume) == 14
    assert sum(int(each["received"]) for each in volume) == 13
    assert {each["received"] for each in table(other, "volume")} == {"0"}
    assert {each["result_median_s"] for each in table(admin, "turnaround")} == {"", "240"}
    alerts = {each["finding"]: each for each in table(admin, "alerts")}
    assert (alerts["Mass"]["version"], alerts["Mass"]["flagged"], alerts["Mass"]["share"]) == (
        "chest-net:3", "11", "0.846154",
    )  # fmt: skip
    assert table(other, "alerts") == []
    assert len(table(admin, "alerts-over-time")) == 14
    assert table(admin, "drift") == []
    assert admin.get(reverse("portal:dashboard-csv", args=["nothing"])).status_code == 404
    with tenant_tx(north.tenant.pk):
        events = AuditEvent.objects.filter(action="data.exported", operation="portal:dashboard-csv")
        assert sorted(events.values_list("amount", flat=True)) == [0, 14, 14, 14, 14]


def test_the_drift_page_shows_the_weeks_that_were_counted(
    north: Hospital, version: Any, sign_in: Callable[..., Client]
) -> None:
    figure = {"what": "flagged", "label": "Mass", "value": 0.5, "expected": 0.2, "p_value": 1e-9}
    DriftWeek.objects.create(
        for_tenant=north.tenant, model_version=version, week=week_of(timezone.now()) - WEEK, read=40, refused=2,
        flagged={"Mass": 0.5}, means={"Mass": 0.3}, figures=[figure], alarms=[figure],
    )  # fmt: skip
    admin = sign_in(north, north.admin)
    page = admin.get(PAGES[2]).text
    assert page.count("<svg xmlns") == 15
    assert "outside the control limits" in page
    rows = list(csv.DictReader(io.StringIO(admin.get("/dashboard/drift.csv").text)))
    assert [(each["finding"], each["outside_control_limits"], each["p_value"]) for each in rows] == [
        ("Mass", "True", "1e-09")
    ]


def test_no_cell_of_a_table_is_a_formula() -> None:
    cells = ["=1+1", "+1", "-1", "@x", "\tx", "\n=1", "\uff1d1+1", 'a, "b"', "Ä", None, -1, -0.5, 1.0]
    (row,) = csv.reader(io.StringIO(as_csv(["x"], [cells]).partition("\r\n")[2]))
    assert row == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\n=1", "'\uff1d1+1", 'a, "b"', "Ä", "", "-1", "-0.5", "1"]
