"""Which findings of a study count, and what the signed report made of each; docs/quality.md has the definitions."""

from collections.abc import Iterable
from typing import TypeGuard
from uuid import UUID

from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import latest_job
from apps.quality.models import CountedFinding, Outcome
from apps.reports.models import Report, Verdict
from apps.reports.selectors import is_complete, rejection_of_image


def report_in_force(study_id: UUID) -> Report | None:
    """The latest signed version of a study's report; None where there is none or the study is withdrawn."""
    reports = Report.objects.filter(study=study_id, study__withdrawn=None)
    return reports.select_related("study", "job__model_version", "job__instance").order_by("-number").first()


def has_result(job: InferenceJob | None) -> TypeGuard[InferenceJob]:
    """Whether a reading has a result of a version, on an image that is not rejected."""
    return job is not None and is_complete(job) and job.model_version is not None and rejection_of_image(job) is None


def findings_to_count(report: Report) -> list[CountedFinding]:
    """The rows, not stored, of a report: of each label with a verdict or a reader's finding. Without a result, none."""
    job = report.job
    if not has_result(job):
        return []
    assert report.signed_at is not None
    added = {each["label"] for each in report.reader_findings if each["label"]}
    # Without an operating point the AI makes no call that a reader could agree with.
    called = Finding.objects.filter(job=job, label__in={*report.verdicts, *added}, threshold__isnull=False)
    found = {each.label: each for each in called}
    outcomes = (
        (label, _outcome(found.get(label), report.verdicts.get(label, ""), label in added))
        for label in sorted({*report.verdicts, *added})
    )
    return [
        CountedFinding(
            study_id=report.study_id,
            report=report,
            model_version=job.model_version,
            label=label,
            flagged=label in found and found[label].positive,
            outcome=outcome,
            probability=found[label].probability if label in found else None,
            signed_at=report.signed_at,
        )
        for label, outcome in outcomes
        if outcome is not None
    ]


def _outcome(finding: Finding | None, verdict: str, is_added: bool) -> Outcome | None:
    """What the reader made of one finding; None where nothing is known of it.

    Args:
        finding: of the AI; None where its version does not know the label, or has no operating point for it.
        is_added: the reader added the finding as their own.
    """
    if finding is None or not verdict:
        # Without a verdict, a finding of the reader that the AI flagged as well confirms it.
        if not is_added:
            return None
        return Outcome.AGREED if finding is not None and finding.positive else Outcome.ADDED
    if verdict == Verdict.AGREE:
        return Outcome.ADDED if is_added and not finding.positive else Outcome.AGREED
    return Outcome.CORRECTED if is_added or not finding.positive else Outcome.DISAGREED


def flagged_afterwards(report: Report) -> list[CountedFinding]:
    """What the AI flagged after the signature of a report without a result of it, and the report does not have.

    The rows are not counted, since no reader gave a verdict.
    """
    late = latest_job(report.study)
    if is_complete(report.job) or not has_result(late) or late.finished is None:
        return []
    added = {each["label"] for each in report.reader_findings}
    return [
        CountedFinding(
            study_id=report.study_id,
            report=report,
            model_version=late.model_version,
            label=each.label,
            flagged=True,
            outcome=Outcome.DISAGREED,
            probability=each.probability,
            signed_at=late.finished,
        )
        for each in Finding.objects.filter(job=late, positive=True).exclude(label__in=added)
    ]


def is_discordant(row: CountedFinding) -> bool:
    """Whether report and AI differ on whether the study has the finding."""
    if row.flagged:
        return row.outcome == Outcome.DISAGREED
    return row.outcome in (Outcome.CORRECTED, Outcome.ADDED)


def discordant(rows: Iterable[CountedFinding]) -> dict[str, CountedFinding]:
    """The rows on which report and AI differ and of which the AI has a probability, by label."""
    return {row.label: row for row in rows if row.probability is not None and is_discordant(row)}
