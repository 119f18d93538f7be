"""The report as PDF: as it was signed, or rendered now."""

import hashlib

from django.utils.translation import gettext as _

from apps.core.errors import NotFoundError, UnavailableError
from apps.core.work_queue import OPEN_STATES
from apps.inference.selectors import latest_job
from apps.inference.stored_texts import stored_text
from apps.reports.models import Report
from apps.reports.pdf import document_of
from apps.reports.selectors import draft_of, report_of, versions_of
from apps.studies.models import Study, object_key
from apps.studies.storage import read_bytes


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
            raise NotFoundError(_("This study has no signed report of that number."), "report-not-found")
        return _stored(version)
    report = None if draft else report_of(study)
    if report is not None:
        return _stored(report)
    preliminary = draft_of(study)
    if preliminary is None:
        raise _absence(study)
    return document_of(preliminary)


def _absence(study: Study) -> NotFoundError:
    job = latest_job(study)
    if job is None:
        detail = _("This study has no report because it has not been sent to a reading.")
    elif job.state in OPEN_STATES:
        detail = _("This study has no report because its reading is not finished.")
    else:
        reason = stored_text(job.reason_code, job.reason)
        detail = _("This study has no report because the AI did not read it: %(reason)s") % {"reason": reason}
    return NotFoundError(detail, "report-not-found")


def _stored(report: Report) -> bytes:
    try:
        document = read_bytes(object_key(report.tenant_id, report.pdf_sha256))
    except (FileNotFoundError, UnavailableError) as error:
        raise UnavailableError(
            _("The signed report cannot be read from the object storage; try again later.")
        ) from error
    if hashlib.sha256(document).hexdigest() != report.pdf_sha256:
        raise UnavailableError(
            _("The stored report is not the one that was signed. Ask the operator to restore it from a backup."),
            "report-damaged",
        )
    return document
