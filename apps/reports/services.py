"""The life of a report: drafted with the result, reviewed, signed once, and then never rendered again."""

import hashlib
import unicodedata
from collections.abc import Sequence
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, OutOfSpaceError, UnavailableError
from apps.core.identifiers import uuid7
from apps.inference.models import OPEN_STATES, Finding, InferenceJob, JobState
from apps.inference.selectors import latest_job
from apps.reports.contents import contents_of
from apps.reports.models import FindingReview, Report, ReportStatus, Verdict
from apps.reports.pdf import render
from apps.reports.printed import patient_of
from apps.reports.selectors import report_of
from apps.studies.models import Study, object_key
from apps.studies.storage import put_bytes, read_bytes
from apps.tenants.models import Membership, Role
from apps.tenants.scope import current_tenant_id
from apps.tenants.services import require_role

LONGEST_IMPRESSION = 10_000


# One statement for the report that is there and the one that is not.
_DRAFT = """
insert into reports_report (id, tenant_id, study_id, job_id, status, impression, pdf_sha256, created)
select id, %(tenant)s, study_id, job_id, 'preliminary', '', '', %(now)s
  from unnest(%(ids)s::uuid[], %(studies)s::uuid[], %(jobs)s::uuid[]) as new(id, study_id, job_id)
on conflict (tenant_id, study_id) do update set job_id = excluded.job_id where reports_report.status = 'preliminary'
"""


def draft(*, jobs: Sequence[InferenceJob]) -> None:
    """Give the studies of complete jobs a preliminary report, in the transaction that completed them.

    A preliminary report on an earlier job now tells of the new one; a signed report stays as it was signed.

    Raises:
        ConflictError: a job has no result.
    """
    if any(job.state != JobState.COMPLETE for job in jobs):
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


def sign(*, study: Study, user: User, membership: Membership | None, impression: str = "") -> Report:
    """Make the study's preliminary report final, in a radiologist's name, and keep its PDF.

    The report's row stays locked until the transaction ends, so that of two signatures the second is refused.

    Raises:
        NotPermittedError: the member is no radiologist.
        NotFoundError: the study has no report.
        ConflictError: the report is signed, or the study has been read, or is being read, anew.
        InvalidInputError: the impression is too long.
        UnavailableError: the PDF could not be made or stored.
    """
    require_role(membership, Role.RADIOLOGIST)
    with transaction.atomic():
        report = _locked(study)
        _require_current(report, study)
        report.impression = _clean(impression)
        report.status = ReportStatus.FINAL
        report.signed_by = user
        report.signed_at = timezone.now()
        report.printed = patient_of(report.study)
        document = render(contents_of(report))
        report.pdf_sha256 = hashlib.sha256(document).hexdigest()
        _store(report, document)
        report.save()
        record(action=AuditEvent.Action.REPORT_SIGNED, by=_actor(user), object_id=report.pk)
    return report


def review_finding(*, finding: Finding, verdict: str, user: User, membership: Membership | None) -> FindingReview:
    """Write down, or change, what the reader says of one finding while its report is preliminary.

    Raises:
        NotPermittedError: the member is no radiologist.
        InvalidInputError: no such verdict.
        NotFoundError, ConflictError: the finding's report is missing, signed or about another reading.
    """
    require_role(membership, Role.RADIOLOGIST)
    if verdict not in Verdict.values:
        raise InvalidInputError(f"The verdict must be {' or '.join(Verdict.values)}.", "verdict-unknown")
    with transaction.atomic():
        report = _locked(finding.job.study)
        if report.job_id != finding.job_id:
            raise ConflictError("This finding is of an earlier reading. Reload the page.", "reading-superseded")
        review, _ = FindingReview.objects.update_or_create(
            finding=finding, defaults={"verdict": verdict, "reader": user}
        )
        record(action=AuditEvent.Action.FINDING_REVIEWED, by=_actor(user), object_id=finding.pk)
    return review


def render_pdf(*, study: Study) -> bytes:
    """The report as PDF: the very bytes that were signed, or the preliminary one as it stands now.

    Raises:
        NotFoundError: the study has no report; the detail says why.
        UnavailableError: the PDF could not be made or read.
    """
    report = report_of(study)
    if report is None:
        raise _absence(study)
    if report.pdf_sha256:
        return _stored(report)
    return render(contents_of(report))


def _locked(study: Study) -> Report:
    # The lock first, the joins afterwards: rows that were joined before a wait for the lock are those of before it.
    Report.objects.select_for_update(no_key=True).filter(study=study).first()
    report = report_of(study)
    if report is None:
        raise _absence(study)
    if report.status != ReportStatus.PRELIMINARY:
        raise ConflictError("This report is signed already and no longer changes.", "report-signed")
    return report


def _require_current(report: Report, study: Study) -> None:
    job = latest_job(study)
    if job is not None and job.pk == report.job_id:
        return
    if job is not None and job.state in OPEN_STATES:
        raise ConflictError("This study is being read anew. Sign when the new result is there.", "reading-open")
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


def _clean(impression: str) -> str:
    """Text as a person means it: line ends as LF, no control characters."""
    text = unicodedata.normalize("NFC", impression.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs")).strip()
    if len(text) > LONGEST_IMPRESSION:
        raise InvalidInputError(
            f"The impression has {len(text)} characters; shorten it to {LONGEST_IMPRESSION}.", "impression-too-long"
        )
    return text


def _actor(user: User) -> Actor:
    user_id: UUID = user.pk
    return Actor(name=f"user:{user_id}", user_id=user_id)


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
