"""The study page, and the JSON state that its script polls while the AI reads."""

from uuid import UUID

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record, record_once
from apps.core.work_queue import OPEN_STATES
from apps.inference.selectors import RECEIVED
from apps.portal.access import MemberRequest, members_only
from apps.portal.conditional import unless_same
from apps.portal.selectors import StudyPage, study_page
from apps.portal.templatetags.portal import reason_text, status_text
from apps.reading.worklist import note_opened
from apps.reports.services import reveal_findings
from apps.studies.selectors import get_study_by_id


@require_GET
@members_only
def study(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The whole page, or only its panels for the page's script."""
    found = get_study_by_id(pk, even_withdrawn=True)
    if found.withdrawn is not None:
        return redirect("portal:study-patient", pk=pk)
    page = study_page(pk=pk, membership=request.membership)
    is_fragment = "X-Fragment" in request.headers
    # A reload by the page's script belongs to the same access; a script without its page is an access too.
    keep = record_once if is_fragment else record
    keep(action=AuditEvent.Action.STUDY_VIEWED, by=actor_of(request), object_id=page.study.pk, operation="portal:study")
    if page.shows_committed_result:
        reveal_findings(study=page.study, user=request.user)
    if not is_fragment and request.headers.get("Sec-Purpose", "").split(";")[0] != "prefetch":
        note_opened(study_id=page.study.pk, user_id=request.user.pk)
    template = "portal/_study_panels.html" if is_fragment else "portal/study.html"
    response = render(request, template, {"page": page})
    response["Vary"] = "X-Fragment"
    return response


@require_GET
@members_only
def state(request: MemberRequest, pk: UUID) -> HttpResponse:
    """What the page's script asks for again and again: a few hundred bytes, or 304 where nothing has changed."""
    page = study_page(pk=pk, membership=request.membership)
    record_once(
        action=AuditEvent.Action.STUDY_VIEWED, by=actor_of(request), object_id=page.study.pk, operation="portal:state"
    )
    response = JsonResponse(
        {
            "status": page.status,
            "status_text": status_text(page.status),
            "is_open": page.status in (RECEIVED, *OPEN_STATES),
            "reason": reason_text(page.job) if page.job and page.job.reason else None,
            "model_version": str(page.job.model_version) if page.job and page.job.model_version else None,
            "positive_count": len(page.flagged) if page.reads and not page.is_blind else None,
            "has_no_operating_points": page.has_no_operating_points,
            "report_status": _report_status(page),
            "token": page.token,
        }
    )
    return unless_same(request, response)


def _report_status(page: StudyPage) -> str | None:
    report = page.report or (page.draft if page.is_drafted else None)
    return report.status if report is not None else None
