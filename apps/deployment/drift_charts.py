"""Charts of a version's weeks at one tenant, for the portal and the operator's console."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from apps.core.charts import Axis, Chart, ChartSeries, line_chart
from apps.core.finding_names import finding_name
from apps.deployment.models import DriftWeek

MOST_WEEKS = 53


def drift_charts(weeks: Sequence[DriftWeek], label: str) -> list[Chart]:
    """Mean probability and flagged share of one finding, and the refused and AP shares, beside what is expected.

    Args:
        weeks: newest first.
    """
    if not weeks:
        return []
    last = weeks[0].week
    at = {each.pk: -float((last - each.week).days // 7) for each in weeks}

    def series(name: str, value: Any) -> ChartSeries:
        return ChartSeries(name, [(at[each.pk], value(each)) for each in reversed(weeks)])

    def expected(what: str, of: str) -> ChartSeries:
        return series(_("expected, %(figure)s") % {"figure": names[what]}, lambda week: _expected(week, what, of))

    names = {"probability": _("mean"), "flagged": _("flagged"), "refused": _("refused"), "AP view": "AP"}
    finding, x = {"finding": finding_name(label)}, Axis(_("weeks before the last one"))
    return [
        line_chart(
            _("%(finding)s: mean probability of the version") % finding,
            [series(names["probability"], lambda week: week.means.get(label)), expected("probability", label)],
            x=x,
            y=Axis(_("probability"), 0.0),
        ),
        line_chart(
            _("%(finding)s: share flagged") % finding,
            [series(names["flagged"], lambda week: week.flagged.get(label)), expected("flagged", label)],
            x=x,
            y=Axis(_("share"), 0.0),
        ),
        line_chart(
            _("Share of films refused, and AP among PA and AP"),
            [
                series(names["refused"], lambda week: week.refused_share),
                expected("refused", ""),
                series("AP", lambda week: week.ap_share),
                expected("AP view", ""),
            ],
            x=x,
            y=Axis(_("share"), 0.0, 1.0),
        ),
    ]


def _expected(week: DriftWeek, what: str, label: str) -> float | None:
    found = [each["expected"] for each in week.figures if each["what"] == what and each["label"] == label]
    return found[0] if found else None
