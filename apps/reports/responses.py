"""The response with a report as PDF, for each view that offers one."""

from django.http import HttpRequest, HttpResponse

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.documents import pdf_response
from apps.reports.services import render_pdf
from apps.studies.models import Study


def report_response(
    request: HttpRequest,
    study: Study,
    filename: str,
    *,
    number: int | None = None,
    draft: bool = False,
    inline: bool = False,
) -> HttpResponse:
    """The report of `render_pdf`, after the audit trail has recorded who read it; arguments as of `pdf_response`.

    Raises:
        NotFoundError: the study has no such report; the detail has the reason.
        UnavailableError: the PDF could not be made or read.
    """
    document = render_pdf(study=study, number=number, draft=draft)
    record(action=AuditEvent.Action.REPORT_READ, by=actor_of(request), object_id=study.pk)
    return pdf_response(document, filename, inline=inline)
