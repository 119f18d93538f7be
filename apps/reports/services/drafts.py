"""Services for drafts: one with each result of the AI, and the text that a reader has not signed yet."""

from collections.abc import Sequence

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError
from apps.core.identifiers import uuid7
from apps.core.text import clean_text
from apps.core.work_queue import OPEN_STATES, JobState
from apps.critical.models import Closing
from apps.critical.notices import reopen_notices
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import latest_job
from apps.reports.models import AddendumDraft, FindingReview, ReaderFinding, Report, ReportDraft, Verdict
from apps.reports.selectors import is_complete, report_of, stored_addendum, stored_draft
from apps.reports.services.locking import lock_study
from apps.reports.signals import results_drafted
from apps.reports.states import MAY, Action, require_action, state_of
from apps.studies.models import Study
from apps.tenants.models import Membership
from apps.tenants.scope import current_tenant_id
from apps.tenants.services import require_role

LONGEST_IMPRESSION = 10_000
LONGEST_REASON = 1_000

# One statement, which updates a draft or inserts a new one. The text that a reader saved stays.
_DRAFT = """
insert into reports_reportdraft (id, tenant_id, study_id, job_id, created)
select id, %(tenant)s, study_id, job_id, %(now)s
  from unnest(%(ids)s::uuid[], %(studies)s::uuid[], %(jobs)s::uuid[]) as new(id, study_id, job_id)
on conflict (tenant_id, study_id) do update set job_id = excluded.job_id
"""


class DraftConflictError(ConflictError):
    """Another text was stored since the page was loaded. It carries that text."""

    default_code = "draft-changed"

    def __init__(self, detail: str, stored: ReportDraft | AddendumDraft, code: str | None = None) -> None:
        super().__init__(detail, code)
        self.stored = stored


def create_drafts(*, jobs: Sequence[InferenceJob]) -> None:
    """Give the studies of complete jobs a preliminary report, in the transaction that completed them.

    So do jobs that ended because the AI is stopped: their report has no findings of it.

    A preliminary report on an earlier job becomes one on the new job; a signed report stays beside the draft.

    Raises:
        ConflictError: a job has no result.
    """
    if any(job.state != JobState.COMPLETE and job.reason_code != AI_STOPPED for job in jobs):
        raise ConflictError("Only a complete reading has a report.", "reading-not-complete")
    if not jobs:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            _DRAFT,
            {
                "tenant": current_tenant_id(),
                "now": timezone.now(),
                "ids": [uuid7() for _ in jobs],
                "studies": [job.study_id for job in jobs],
                "jobs": [job.pk for job in jobs],
            },
        )
    results_drafted.send(ReportDraft, study_ids=[job.study_id for job in jobs])


def save_draft(
    *, study: Study, impression: str, reason: str = "", revision: int, user: User, membership: Membership | None
) -> ReportDraft:
    """Store the text that a reader has typed so far. Where the report is signed, it begins the next version.

    Args:
        reason: of the amendment.
        revision: of the text that the page was loaded with, or stored last.

    Raises:
        NotPermittedError: the member is not a radiologist.
        DraftConflictError: another text was stored meanwhile, or the report was signed.
        InvalidInputError: the text is too long.
    """
    require_role(membership, MAY[Action.SAVE])
    text = clean_text(impression, name="impression", longest=LONGEST_IMPRESSION)
    why = clean_text(reason, name="reason", longest=LONGEST_REASON)
    with transaction.atomic():
        study = lock_study(study)
        current = report_of(study)
        draft = stored_draft(study, current)
        is_same = (draft.impression, draft.reason) == (text, why)
        if draft.revision != revision and not (is_same and draft.saved_by_id == user.pk):
            raise _conflict(draft, current)
        return draft if is_same else store_text(draft, text, user, why)


def save_addendum(
    *, study: Study, text: str, reason: str, revision: int, user: User, membership: Membership | None
) -> AddendumDraft:
    """Store the addendum that a reader has typed so far. The report stays as it is signed until the signature.

    Args:
        revision: of the text that the page was loaded with, or stored last.

    Raises:
        NotPermittedError: the member is not a radiologist.
        ConflictError: the report is not signed.
        DraftConflictError: the reader stored another text meanwhile.
        InvalidInputError: a text is too long.
    """
    require_role(membership, MAY[Action.ADDEND])
    text = clean_text(text, name="addendum", longest=LONGEST_IMPRESSION)
    why = clean_text(reason, name="reason", longest=LONGEST_REASON)
    with transaction.atomic():
        study = lock_study(study)
        require_action(state_of(study), Action.ADDEND)
        draft = stored_addendum(study, user)
        if (draft.impression, draft.reason) == (text, why):
            return draft
        if draft.revision != revision:
            raise DraftConflictError(
                _("You changed this text in another window. Compare both before you go on."), draft
            )
        draft.impression, draft.reason, draft.saved_at = text, why, timezone.now()
        draft.revision += 1
        draft.save()
    return draft


def store_text(draft: ReportDraft, text: str, user: User, reason: str = "") -> ReportDraft:
    """Store a text as the newest of a draft, whose study is locked."""
    latest = latest_job(draft.study)
    if latest is not None and latest.state not in OPEN_STATES:
        draft.job = latest
    draft.impression, draft.reason, draft.saved_by, draft.saved_at = text, reason, user, timezone.now()
    draft.revision += 1
    draft.save()
    return draft


def _conflict(draft: ReportDraft, current: Report | None) -> DraftConflictError:
    if current is not None and draft.revision == current.draft_revision:
        return DraftConflictError(
            _("%(signer)s signed this report since you opened it. Your text is not stored yet.")
            % {"signer": current.signed_by},
            draft,
            "report-signed",
        )
    return DraftConflictError(
        _("%(reader)s changed this text since you opened it. Compare both before you go on.")
        % {"reader": draft.saved_by or _("Another person")},
        draft,
    )


def discard_draft(*, study: Study, user: User, membership: Membership | None) -> None:
    """Withdraw the draft of the next version: text, verdicts and readers' findings are again as they were signed.

    Raises:
        NotPermittedError: the member is not a radiologist.
        ConflictError: no version is signed, or there is no draft.
    """
    require_role(membership, MAY[Action.DISCARD])
    with transaction.atomic():
        study = lock_study(study)
        require_action(state_of(study), Action.DISCARD)
        signed = report_of(study)
        assert signed is not None
        _withdraw_new_verdicts(signed, user)
        close_draft(signed, keep_newer_result=True)
        restore_signed(signed)
        record(action=AuditEvent.Action.REPORT_DRAFT_WITHDRAWN, by=user_actor(user.pk), object_id=signed.pk)


def _withdraw_new_verdicts(signed: Report, user: User) -> None:
    """Withdraw the verdicts on a result that the signed version is not about, with what they did to notices."""
    reviews = FindingReview.objects.filter(finding__job__report_drafts__study=signed.study_id)
    reviews = reviews.exclude(finding__job=signed.job_id)
    for label in reviews.filter(verdict=Verdict.DISAGREE).values_list("finding__label", flat=True):
        reopen_notices(study_id=signed.study_id, closing=Closing.DISAGREED, label=label, user_id=user.pk)
    reviews.delete()


def close_draft(signed: Report, *, keep_newer_result: bool) -> None:
    """End the draft of a study, whose text was signed or withdrawn.

    Args:
        keep_newer_result: keep the draft of a result that the signed version is not about, without its text.
    """
    draft = ReportDraft.objects.filter(study=signed.study).select_related("job").first()
    if draft is None:
        return
    is_newer = is_complete(draft.job) and draft.job_id != signed.job_id
    if not (keep_newer_result and is_newer):
        draft.delete()
        return
    draft.impression, draft.reason, draft.saved_by, draft.saved_at = "", "", None, None
    draft.revision = max(draft.revision, signed.draft_revision) + 1
    draft.save()


def restore_signed(signed: Report) -> None:
    """Make the verdicts and readers' findings that can change equal to those of a signed version."""
    assert signed.signed_by is not None
    reviews = {each.finding_id: each for each in FindingReview.objects.filter(finding__job=signed.job_id)}
    for finding in Finding.objects.filter(job=signed.job_id):
        review, verdict = reviews.get(finding.pk), signed.verdicts.get(finding.label)
        if review is not None and verdict is None:
            review.delete()
        elif verdict is not None and (review is None or review.verdict != verdict):
            FindingReview.objects.update_or_create(
                finding=finding, defaults={"verdict": verdict, "reader": signed.signed_by}
            )
    known = [each["id"] for each in signed.reader_findings]
    own = ReaderFinding.objects.filter(study=signed.study_id)
    own.exclude(pk__in=known).delete()
    there = {str(pk) for pk in own.values_list("pk", flat=True)}
    ReaderFinding.objects.bulk_create(
        ReaderFinding(**each, study_id=signed.study_id, reader=signed.signed_by)
        for each in signed.reader_findings
        if each["id"] not in there
    )
