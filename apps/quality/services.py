"""Services that keep counts and discordances in step with signed reports."""

from uuid import UUID

from apps.quality.discordances import update_discordances
from apps.quality.models import CountedFinding
from apps.quality.outcomes import findings_to_count, flagged_afterwards, report_in_force


def count_again(*, study_id: UUID) -> None:
    """Replace a study's counted findings by those of its signed report in force, and update its discordances.

    The caller holds the study's lock, or changes whether it counts in this transaction.
    """
    report = report_in_force(study_id)
    rows = [] if report is None else findings_to_count(report)
    CountedFinding.objects.filter(study=study_id).delete()
    CountedFinding.objects.bulk_create(rows)
    later = [] if report is None else flagged_afterwards(report)
    update_discordances(study_id=study_id, rows=[*rows, *later])
