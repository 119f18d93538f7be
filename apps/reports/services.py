"""Services for reports: a draft with each result, verdicts, signature, and amendment by a new version."""

import hashlib
from collections.abc import Sequence

from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import record, user_actor
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.core.text import clean_text
from apps.core.work_queue import OPEN_STATES, JobState
from apps.deployment.stops import AI_STOPPED
from apps.inference.models import Finding, InferenceJob
from apps.inference.selectors import latest_job
from apps.reports.contents import contents_of
from apps.reports.models import FindingReview, Report, ReportDraft, ReportStatus, Verdict
from apps.reports.pdf import render
from apps.reports.printed import patient_of
from apps.reports.selectors import draft_of, report_of, versions_of
from apps.studies.models import Study, object_key
from apps.studies.selectors import count_images
from apps.studies.storage import put_bytes, read_bytes
from apps.tenants.models import Membership, Role
from apps.tenants.scope import current_tenant_id
from apps.tenants.services import require_role

LONGEST_IMPRESSION = 10_000
LONGEST_REASON = 1_000
_SIGNED = "This report is signed already and no longer changes; it can be amended."


# One statement, which updates a draft or inserts a new one.
_DRAFT = """
insert into reports_reportdraft (id, tenant_id, study_id, job_id, created)
select id, %(tenant)s, study_id, job_id, %(now)s
  from unnest(%(ids)s::uuid[], %(studies)s::uuid[], %(jobs)s::uuid[]) as new(id, study_id, job_id)
on conflict (tenant_id, study_id) do update set job_id = excluded.job_id
"""


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


def sign_report(
    *,
    study: Study,
    user: User,
    membership: Membership | None,
    impression: str = "",
    amends: int = 0,
    reason: str = "",
) -> Report:
    """Sign the study's draft in a radiologist's name, or amend the signed report, and store the PDF.

    An amendment is about the draft where there is one; otherwise it corrects the text on the same reading. The study's
    row stays locked until the transaction ends: of two signatures the second is refused, and an image that arrives
    meanwhile counts as new.

    Args:
        amends: the number of the signed version that the reader saw; 0 where none was signed.
        reason: why that version is amended.

    Raises:
        NotPermittedError: the member is not a radiologist.
        NotFoundError: the study has no report.
        ConflictError: another version was signed meanwhile, or the study was, or is being, read again.
        InvalidInputError: the impression is too long, or an amendment has no reason.
        UnavailableError: the PDF could not be made or stored.
    """
    require_role(membership, Role.RADIOLOGIST)
    with transaction.atomic():
        _lock(study)
        current = report_of(study)
        _require_seen(current, amends)
        report = Report(
            study=study,
            job=_job_to_sign(study, current),
            number=1 if current is None else current.number + 1,
            status=ReportStatus.FINAL if current is None else ReportStatus.AMENDED,
            impression=clean_text(impression, name="impression", longest=LONGEST_IMPRESSION),
            amends=current,
            reason="" if current is None else _reason(reason),
            image_count=count_images([study.pk]).get(study.pk, 0),
            signed_by=user,
            signed_at=timezone.now(),
            printed=patient_of(study),
        )
        document = render(contents_of(report))
        report.pdf_sha256 = hashlib.sha256(document).hexdigest()
        _store(report, document)
        report.save(force_insert=True)
        ReportDraft.objects.filter(study=study, job=report.job_id).delete()
        acted = AuditEvent.Action.REPORT_SIGNED if current is None else AuditEvent.Action.REPORT_AMENDED
        record(action=acted, by=user_actor(user.pk), object_id=report.pk)
    return report


def review_finding(*, finding: Finding, verdict: str, user: User, membership: Membership | None) -> FindingReview:
    """Store or change a reader's verdict on one finding while its report is preliminary.

    Raises:
        NotPermittedError: the member is not a radiologist.
        InvalidInputError: no such verdict.
        NotFoundError, ConflictError: the finding's report is missing, signed or about another reading.
    """
    require_role(membership, Role.RADIOLOGIST)
    if verdict not in Verdict.values:
        raise InvalidInputError(f"The verdict must be {' or '.join(Verdict.values)}.", "verdict-unknown")
    with transaction.atomic():
        study = finding.job.study
        _lock(study)
        draft = draft_of(study)
        if draft is None and report_of(study) is not None:
            raise ConflictError(_SIGNED, "report-signed")
        if draft is None:
            raise _absence(study)
        if draft.job_id != finding.job_id:
            raise ConflictError("This finding is of an earlier reading. Reload the page.", "reading-superseded")
        review, _ = FindingReview.objects.update_or_create(
            finding=finding, defaults={"verdict": verdict, "reader": user}
        )
        record(action=AuditEvent.Action.FINDING_REVIEWED, by=user_actor(user.pk), object_id=finding.pk)
    return review


def render_pdf(*, study: Study, number: int | None = None, draft: bool = False) -> bytes:
    """The report as PDF: the stored bytes of a signed one, or the preliminary one, rendered now.

    Args:
        number: a signed version; None for the one in force, or else the preliminary report.
        draft: the preliminary report, even where there is a signed one.

    Raises:
        NotFoundError: the study has no such report; the detail has the reason.
        UnavailableError: the PDF could not be made or read.
    """
    if number is not None:
        version = versions_of(study).filter(number=number).first()
        if version is None:
            raise NotFoundError("This study has no signed report of that number.", "report-not-found")
        return _stored(version)
    report = None if draft else report_of(study)
    if report is not None:
        return _stored(report)
    preliminary = draft_of(study)
    if preliminary is None:
        raise _absence(study)
    return render(contents_of(preliminary))


def _lock(study: Study) -> None:
    """Lock the study: code that stores its instances, ends its jobs or signs its report waits for the transaction."""
    if Study.objects.select_for_update(no_key=True).filter(pk=study.pk).first() is None:
        raise NotFoundError("There is no such study in this hospital.", "study-not-found")


def _require_seen(current: Report | None, amends: int) -> None:
    if (current.number if current else 0) == amends:
        return
    if not amends:
        raise ConflictError(_SIGNED, "report-signed")
    raise ConflictError(
        "Another version of this report was signed meanwhile. Reload the page and read it first.", "report-amended"
    )


def _job_to_sign(study: Study, current: Report | None) -> InferenceJob:
    draft, latest = draft_of(study), latest_job(study)
    if draft is None and current is None:
        raise _absence(study)
    if latest is not None and latest.state in OPEN_STATES:
        raise ConflictError("This study is being read again. Sign when the new result is there.", "reading-open")
    if draft is not None and latest is not None and latest.pk == draft.job_id:
        return draft.job
    if current is not None:
        return current.job
    raise ConflictError(
        "The latest reading of this study gave no result, so its earlier result cannot be signed.", "reading-superseded"
    )


def _absence(study: Study) -> NotFoundError:
    job = latest_job(study)
    if job is None:
        why = "it has not been sent to a reading"
    elif job.state in OPEN_STATES:
        why = "its reading is not finished"
    else:
        why = f"its reading was {job.get_state_display().lower()}: {job.reason}"
    return NotFoundError(f"This study has no report because {why.rstrip('.')}.", "report-not-found")


def _reason(reason: str) -> str:
    text = clean_text(reason, name="reason", longest=LONGEST_REASON)
    if not text:
        raise InvalidInputError("Enter the reason for the amendment.", "amendment-reason-missing")
    return text


def _store(report: Report, document: bytes) -> None:
    try:
        put_bytes(object_key(report.tenant_id, report.pdf_sha256), document)
    except (OutOfSpaceError, UnavailableError) as error:
        raise UnavailableError("The object storage did not take the report; sign again later.") from error


def _stored(report: Report) -> bytes:
    try:
        document = read_bytes(object_key(report.tenant_id, report.pdf_sha256))
    except (FileNotFoundError, UnavailableError) as error:
        raise UnavailableError("The signed report cannot be read from the object storage; try again later.") from error
    if hashlib.sha256(document).hexdigest() != report.pdf_sha256:
        raise UnavailableError(
            "The stored report is not the one that was signed. Tell the operator to restore it from a backup.",
            "report-damaged",
        )
    return document
