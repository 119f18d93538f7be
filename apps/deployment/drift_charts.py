"""Charts of a version's weeks at one tenant, for the portal and the operator's console."""

from collections.abc import Sequence
from typing import Any

from apps.core.charts import Axis, Chart, ChartSeries, line_chart
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
        return series(f"expected, {what}", lambda week: _expected(week, what, of))

    name, x = label.replace("_", " "), Axis("weeks before the last one")
    return [
        line_chart(
            f"{name}: mean probability of the version",
            [series("mean", lambda week: week.means.get(label)), expected("probability", label)],
            x=x,
            y=Axis("probability", 0.0),
        ),
        line_chart(
            f"{name}: share flagged",
            [series("flagged", lambda week: week.flagged.get(label)), expected("flagged", label)],
            x=x,
            y=Axis("share", 0.0),
        ),
        line_chart(
            "Share of films refused, and AP among PA and AP",
            [
                series("refused", lambda week: week.refused_share),
                expected("refused", ""),
                series("AP", lambda week: week.ap_share),
                expected("AP view", ""),
            ],
            x=x,
            y=Axis("share", 0.0, 1.0),
        ),
    ]


def _expected(week: DriftWeek, what: str, label: str) -> float | None:
    found = [each["expected"] for each in week.figures if each["what"] == what and each["label"] == label]
    return found[0] if found else None
