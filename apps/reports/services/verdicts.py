"""Services for a reader's verdicts on what the AI found."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError
from apps.core.work_queue import JobState
from apps.critical.models import Closing
from apps.critical.notices import close_notices, reopen_notices
from apps.inference.models import Finding, InferenceJob
from apps.reports.models import FindingReview, ReportDraft, Verdict
from apps.reports.selectors import hides_findings
from apps.reports.services.locking import lock_study
from apps.reports.states import MAY, Action, require_action, state_of
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.services import require_role


def review_finding(
    *, finding: Finding, verdict: str, user: User, membership: Membership | None
) -> FindingReview | None:
    """Store, change or withdraw a reader's verdict on one finding while its report is not signed.

    Args:
        verdict: one of `Verdict`; empty to withdraw it.

    Raises:
        NotPermittedError: the member is not a radiologist.
        InvalidInputError: no such verdict.
        ConflictError: the finding's report is missing, signed or about another reading.
    """
    require_role(membership, MAY[Action.REVIEW])
    if verdict and verdict not in Verdict.values:
        raise InvalidInputError(_("Agree or disagree with the finding, or withdraw the verdict."), "verdict-unknown")
    with transaction.atomic():
        study = lock_study(finding.job.study)
        if _job_to_review(study, user).pk != finding.job_id:
            raise ConflictError(_("This finding is of an earlier reading. Reload the page."), "reading-superseded")
        if not verdict:
            if FindingReview.objects.filter(finding=finding).delete()[0]:
                reopen_notices(**_disagreed(finding, user))
                _record(AuditEvent.Action.VERDICT_WITHDRAWN, user, finding)
            return None
        review, _made = FindingReview.objects.update_or_create(
            finding=finding, defaults={"verdict": verdict, "reader": user}
        )
        settle = close_notices if verdict == Verdict.DISAGREE else reopen_notices
        settle(**_disagreed(finding, user))
        _record(AuditEvent.Action.FINDING_REVIEWED, user, finding)
    return review


def _disagreed(finding: Finding, user: User) -> dict[str, Any]:
    """The notice of a critical finding that a verdict closes, or that the end of it opens again."""
    return {
        "study_id": finding.job.study_id,
        "closing": Closing.DISAGREED,
        "label": finding.label,
        "user_id": user.pk,
    }


def agree_with_rest(*, study: Study, user: User, membership: Membership | None) -> list[str]:
    """Agree with all flagged findings of the draft's result that have no verdict yet.

    Returns:
        The labels that the reader agrees with now.

    Raises:
        NotPermittedError: the member is not a radiologist.
        ConflictError: there is no result, or its report is signed.
    """
    require_role(membership, MAY[Action.REVIEW])
    with transaction.atomic():
        study = lock_study(study)
        return [each.label for each in agree_with(without_verdict(_job_to_review(study, user)), user)]


def without_verdict(job: InferenceJob) -> list[Finding]:
    """The flagged findings of a result that no reader has given a verdict on."""
    reviewed = FindingReview.objects.filter(finding__job=job).values("finding")
    return list(Finding.objects.filter(job=job, positive=True).exclude(pk__in=reviewed))


def agree_with(findings: list[Finding], user: User) -> list[Finding]:
    """Store that a reader agrees with findings that have no verdict; their study is locked."""
    agreed = Verdict.AGREE
    FindingReview.objects.bulk_create(
        FindingReview(finding=finding, verdict=agreed, reader=user) for finding in findings
    )
    for finding in findings:
        _record(AuditEvent.Action.FINDING_REVIEWED, user, finding)
    return findings


def _job_to_review(study: Study, user: User) -> InferenceJob:
    """The result that the draft of a locked study is about."""
    require_action(state_of(study), Action.REVIEW)
    if hides_findings(study, user):
        raise ConflictError(_("Commit your impression first. Then the AI's findings are shown."), "commit-first")
    draft = ReportDraft.objects.filter(study=study).select_related("job").first()
    if draft is None or draft.job is None or draft.job.state != JobState.COMPLETE:
        raise ConflictError(_("There is no result of the AI to give a verdict on."), "reading-not-complete")
    return draft.job


def _record(action: AuditEvent.Action, user: User, finding: Finding) -> None:
    record(action=action, by=user_actor(user.pk), object_id=finding.pk)
