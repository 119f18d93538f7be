"""Discordances: where the signed report in force and the AI differ on a finding, in the order of review."""

import zoneinfo
from collections.abc import Sequence
from datetime import date
from uuid import UUID

from django.utils import timezone

from apps.quality.models import CountedFinding, Discordance
from apps.quality.outcomes import discordant
from apps.reading.models import ReadingPolicy
from apps.reading.selectors import reading_policy


def update_discordances(*, study_id: UUID, rows: Sequence[CountedFinding]) -> None:
    """Open, change and end the discordances of a study, by its counted findings. What was resolved stays resolved."""
    differing = discordant(rows)
    # A review that is stored meanwhile must not be overwritten.
    locked = Discordance.objects.select_for_update(of=("self",)).filter(study=study_id).order_by("pk")
    known = {each.label: each for each in locked}
    policy = reading_policy() if differing else ReadingPolicy()
    for label, row in differing.items():
        entry = known.get(label)
        if entry is None or entry.ended_at is not None:
            entry = entry or Discordance(study_id=study_id, label=label)
            entry.day, entry.ended_at = _day(row, policy), None
        if not entry.resolution:
            entry.report_id, entry.flagged = row.report_id, row.flagged
            entry.probability, entry.score = row.probability or 0.0, score_of(row, policy)
        entry.save()
    agreeing = [each.pk for label, each in known.items() if label not in differing and each.ended_at is None]
    if agreeing:
        Discordance.objects.filter(pk__in=agreeing).update(ended_at=timezone.now())


def score_of(row: CountedFinding, policy: ReadingPolicy) -> float:
    """Severity times confidence, 0 to 1.

    The severity is the finding's place in the hospital's order of urgency: 1 for the first, then evenly down to 1/14.
    The confidence is the calibrated probability that the AI's call is right: p where it flagged, else 1 - p.
    """
    order = policy.urgency
    severity = (len(order) - order.index(row.label)) / len(order) if row.label in order else 1 / len(order)
    probability = row.probability or 0.0
    return severity * (probability if row.flagged else 1.0 - probability)


def _day(row: CountedFinding, policy: ReadingPolicy) -> date:
    return timezone.localdate(row.signed_at, zoneinfo.ZoneInfo(policy.time_zone))
