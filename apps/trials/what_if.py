"""What-if figures: the effect of each threshold on recent studies, by readers' verdicts and by known truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.core.charts import Axis, Chart, ChartSeries, line_chart
from apps.deployment.points import OperatingCurve, share_flagged
from apps.registry.models import ModelVersion
from apps.reports.models import FindingReview, Verdict
from apps.trials.recent import RecentReading, recent_readings

_MAX_THRESHOLDS = 60
LAST = 1000
_SECONDS = 86400.0


@dataclass(frozen=True)
class RecentProbabilities:
    """Calibrated probabilities of one finding: of recent studies, and of those that readers reviewed."""

    recent: Sequence[float]
    days: float
    present: Sequence[float]
    absent: Sequence[float]


@dataclass(frozen=True)
class ThresholdEffect:
    """One threshold and its effect; a figure is None where there are no data for it."""

    threshold: float
    flagged: int
    share: float | None
    per_day: float | None
    sensitivity: float | None
    specificity: float | None
    reader_sensitivity: float | None
    reader_specificity: float | None

    def to_dict(self) -> dict[str, Any]:
        return self.__dict__


def threshold_effect(threshold: float, data: RecentProbabilities, curve: OperatingCurve | None) -> ThresholdEffect:
    """The effect that this threshold would have had."""
    share = share_flagged(data.recent, threshold)
    flagged = round((share or 0.0) * len(data.recent))
    known = curve.at(threshold) if curve else (None, None)
    missed = share_flagged(data.absent, threshold)
    return ThresholdEffect(
        threshold=threshold,
        flagged=flagged,
        share=share,
        per_day=flagged / data.days if data.recent else None,
        sensitivity=known[0],
        specificity=known[1],
        reader_sensitivity=share_flagged(data.present, threshold),
        reader_specificity=None if missed is None else 1.0 - missed,
    )


def threshold_effects(data: RecentProbabilities, curve: OperatingCurve | None) -> list[ThresholdEffect]:
    """The slider's positions: the thresholds at which a figure changes, evenly thinned to `_MAX_THRESHOLDS`."""
    seen = {value for value in (*data.recent, *data.present, *data.absent) if 0.0 < value < 1.0}
    seen |= {vertex[0] for vertex in curve.vertices if 0.0 < vertex[0] < 1.0} if curve else set()
    ordered = sorted(seen)
    if len(ordered) > _MAX_THRESHOLDS:
        ordered = [
            ordered[round(index * (len(ordered) - 1) / (_MAX_THRESHOLDS - 1))] for index in range(_MAX_THRESHOLDS)
        ]
    return [threshold_effect(threshold, data, curve) for threshold in ordered]


def charts(found: Sequence[ThresholdEffect]) -> list[Chart]:
    """Charts of flags per day, sensitivity and specificity against the threshold."""
    per_day = [(each.threshold, each.per_day) for each in found]
    quality = {
        _("sensitivity"): [(each.threshold, each.sensitivity) for each in found],
        _("specificity"): [(each.threshold, each.specificity) for each in found],
        _("sensitivity, by readers"): [(each.threshold, each.reader_sensitivity) for each in found],
        _("specificity, by readers"): [(each.threshold, each.reader_specificity) for each in found],
    }
    lines = [ChartSeries(name, points) for name, points in quality.items()]
    return [
        line_chart(
            _("Flags per day"),
            [ChartSeries(_("Flags per day"), per_day)],
            x=Axis(_("threshold")),
            y=Axis(_("per day"), 0.0),
        ),
        line_chart(_("Sensitivity and specificity"), lines, x=Axis(_("threshold")), y=Axis(_("share"), 0.0, 1.0)),
    ]


def recent_probabilities(*, version: ModelVersion, label: str) -> RecentProbabilities:
    """The probabilities of one finding on the latest studies that the version read.

    A reader who agrees confirms the version's result, and so says whether the finding is present.
    """
    readings = recent_readings(version=version, last=LAST)
    probabilities = {each.finding_ids[label]: each.probabilities[label] for each in readings}
    reviews = FindingReview.objects.filter(finding__in=probabilities).values_list(
        "finding_id", "finding__positive", "verdict"
    )
    present: list[float] = []
    absent: list[float] = []
    for finding_id, positive, verdict in reviews:
        is_there = positive == (verdict == Verdict.AGREE)
        (present if is_there else absent).append(probabilities[finding_id])
    return RecentProbabilities(
        recent=list(probabilities.values()), days=_days(readings), present=present, absent=absent
    )


def _days(readings: list[RecentReading]) -> float:
    if not readings:
        return 1.0
    times = [each.finished for each in readings]
    return max((max(times) - min(times)).total_seconds() / _SECONDS, 1.0)
