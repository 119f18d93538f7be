"""The dashboards' figures as charts."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from apps.core.bar_charts import ShareRow, share_rows, stacked_bars
from apps.core.charts import Axis, Chart, ChartSeries, line_chart
from apps.core.finding_names import finding_name
from apps.deployment.drift_charts import drift_charts
from apps.deployment.models import DriftWeek
from apps.quality.dashboard.activity import Activity, Times, Volume
from apps.quality.dashboard.agreement import Agreement
from apps.quality.dashboard.alerts import ANY, AlertRate, VersionAlerts
from apps.quality.dashboard.scope import Scope

_MOST_DATES = 7
_Row = TypeVar("_Row")


def volume_chart(rows: Mapping[datetime.date, Activity], scope: Scope) -> Chart:
    """What became of the studies as bars, and the signed ones as a line."""

    def series(name: str, value: Callable[[Volume], int]) -> ChartSeries:
        return _series(name, list(rows.values()), lambda each: value(each.volume))

    return stacked_bars(
        _("Studies by what became of them"),
        [
            series(_("Read by AI"), lambda each: each.read),
            series(_("Not read"), lambda each: each.refused),
            series(_("Failed"), lambda each: each.failed),
            series(_("Waiting"), lambda each: each.waiting),
        ],
        [series(_("Signed"), lambda each: each.signed)],
        x=_date_axis(list(rows), scope),
        y=Axis(_("studies"), 0.0, integers_only=True),
    )


def turnaround_charts(rows: Mapping[datetime.date, Activity], scope: Scope) -> list[Chart]:
    """Until the AI's result in minutes, and until the signature in hours."""
    x = _date_axis(list(rows), scope)
    results = [each.result for each in rows.values()]
    signatures = [each.signature for each in rows.values()]
    return [
        line_chart(_("Until the AI's result"), _percentiles(results, 60), x=x, y=Axis(_("minutes"), 0.0)),
        line_chart(_("Until the signature"), _percentiles(signatures, 3600), x=x, y=Axis(_("hours"), 0.0)),
    ]


def _percentiles(times: Sequence[Times], seconds: float) -> list[ChartSeries]:
    def value(taken: datetime.timedelta | None) -> float | None:
        return None if taken is None else taken.total_seconds() / seconds

    return [
        _series(_("median"), times, lambda each: value(each.median)),
        _series(_("90 % within"), times, lambda each: value(each.p90)),
    ]


def alert_chart(rows: Mapping[datetime.date, AlertRate], scope: Scope) -> Chart:
    """The share of studies with a flagged finding, with its interval."""
    return _share_chart(_("Share of the studies with a flagged finding"), _("flagged"), rows, scope)


def agreement_chart(rows: Mapping[datetime.date, Agreement], scope: Scope) -> Chart:
    """The share of verdicts that agree with the AI, with its interval."""
    return _share_chart(_("Share of the verdicts that agree with the AI"), _("agreed"), rows, scope)


def _share_chart(
    title: str, name: str, rows: Mapping[datetime.date, AlertRate] | Mapping[datetime.date, Agreement], scope: Scope
) -> Chart:
    values: Sequence[AlertRate | Agreement] = list(rows.values())
    return line_chart(
        title,
        [
            _series(name, values, lambda each: each.share),
            _series(_("95 % interval, low"), values, lambda each: each.interval.low if each.interval else None),
            _series(_("high"), values, lambda each: each.interval.high if each.interval else None),
        ],
        x=_date_axis(list(rows), scope),
        y=Axis(_("share"), 0.0, 1.0),
    )


def version_alerts_chart(alerts: VersionAlerts) -> Chart:
    rows = [
        _row(_("Any finding") if each.label == ANY else finding_name(each.label), each, each.expected)
        for each in alerts.rates
        if each.is_shown
    ]
    title = _("%(version)s: share flagged, by finding") % {"version": alerts.version}
    return share_rows(title, rows, x_title=_("share, with its 95 % interval"), expected=_("expected by its reference"))


def label_agreement_chart(rows: Sequence[Agreement]) -> Chart:
    shown = [
        _row(finding_name(each.label) if each.label else _("All findings"), each)
        for each in rows
        if each.share is not None
    ]
    return share_rows(_("Agreement, by finding"), shown, x_title=_("share, with its 95 % interval"), expected="")


def _row(name: str, rate: AlertRate | Agreement, expected: float | None = None) -> ShareRow:
    low, high = (rate.interval.low, rate.interval.high) if rate.interval else (0.0, 0.0)
    return ShareRow(name, rate.share, low, high, expected)


def all_drift_charts(weeks: Sequence[DriftWeek], labels: Sequence[str]) -> list[Chart]:
    """The refused and AP shares, and the flagged share of each finding, beside what is expected; see *Drift*."""
    if not weeks:
        return []
    by_label = [drift_charts(weeks, label) for label in labels]
    return [by_label[0][2], *(flagged for _mean, flagged, _films in by_label)]


def _series(name: str, rows: Sequence[_Row], value: Callable[[_Row], float | None]) -> ChartSeries:
    return ChartSeries(name, [(float(index), value(each)) for index, each in enumerate(rows)])


def _date_axis(starts: Sequence[datetime.date], scope: Scope) -> Axis:
    every = -(-len(starts) // _MOST_DATES)
    names = {float(index): date_format(start, "j M") for index, start in enumerate(starts) if index % every == 0}
    return Axis(_("day of arrival") if scope.step == "day" else _("week of arrival, its Monday"), names=names)
