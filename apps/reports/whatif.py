"""What the tenant in force has seen of one finding lately: probabilities, and its readers' word."""

from apps.inference.recent import RecentReading, recent_readings
from apps.registry.models import ModelVersion
from apps.registry.whatif import Evidence
from apps.reports.models import FindingReview, Verdict

LAST = 1000
_SECONDS = 86400.0


def evidence(*, version: ModelVersion, label: str) -> Evidence:
    """Of the latest studies that the version read. Who agrees with a finding calls it what the version called it."""
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
    return Evidence(recent=list(probabilities.values()), days=_days(readings), present=present, absent=absent)


def _days(readings: list[RecentReading]) -> float:
    if not readings:
        return 1.0
    times = [each.finished for each in readings]
    return max((max(times) - min(times)).total_seconds() / _SECONDS, 1.0)
