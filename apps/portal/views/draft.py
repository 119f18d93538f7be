"""The views of a report that is being written: its text, the reader's own findings, blind reading."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.core.errors import InvalidInputError
from apps.core.problems import CONTENT_TYPE, problem, status_of
from apps.core.text import whole_number
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.reports import services
from apps.reports.models import AddendumDraft, ReportDraft
from apps.reports.selectors import report_of, stored_addendum, stored_draft
from apps.reports.services import DraftConflictError
from apps.studies.models import Study
from apps.studies.selectors import get_study_by_id
from apps.tenants.models import Role
from apps.tenants.services import require_role


@require_http_methods(["GET", "POST"])
@members_only
def draft(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The text that was saved last; POST saves another one, if ``revision`` is of the one that is stored.

    ``?kind=addendum`` is about the reader's own addendum, everything else about the report.
    """
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    is_addendum = request.GET.get("kind") == "addendum"
    if request.method == "GET":
        found = stored_addendum(study, request.user) if is_addendum else stored_draft(study, report_of(study))
        return JsonResponse(_shown(found))
    revision = whole_number(request.POST.get("revision", ""), default=-1)
    if revision < 0:
        raise InvalidInputError(_("State the revision of the text that you changed."), "revision-missing")
    try:
        stored = _save(request, study, revision, is_addendum)
    except DraftConflictError as error:
        if not wants_json(request):
            raise
        status = status_of(error)
        body = problem(status, error.detail, error.code, **_shown(error.stored))
        return JsonResponse(body, status=status, content_type=CONTENT_TYPE)
    if wants_json(request):
        return JsonResponse(_shown(stored))
    messages.success(request, _("The draft is stored."))
    return redirect("portal:study", pk=pk)


def _save(request: MemberRequest, study: Study, revision: int, is_addendum: bool) -> ReportDraft | AddendumDraft:
    text, reason = request.POST.get("impression", ""), request.POST.get("reason", "")
    by: dict[str, Any] = {"user": request.user, "membership": request.membership}
    if is_addendum:
        return services.save_addendum(study=study, text=text, reason=reason, revision=revision, **by)
    return services.save_draft(study=study, impression=text, reason=reason, revision=revision, **by)


def _shown(stored: ReportDraft | AddendumDraft) -> dict[str, Any]:
    return {
        "revision": stored.revision,
        "impression": stored.impression,
        "reason": stored.reason,
        "saved_by": str(stored.saved_by) if stored.saved_at else None,
        "saved_at": stored.saved_at,
    }


@require_POST
@members_only
def discard(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Withdraw the draft of the next version of a signed report."""
    require_role(request.membership, Role.RADIOLOGIST)
    services.discard_draft(study=get_study_by_id(pk), user=request.user, membership=request.membership)
    messages.success(request, _("The draft is withdrawn. The signed report is as it was."))
    return redirect("portal:study", pk=pk)


@require_POST
@members_only
def commit(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Commit the impression, after which the AI's findings are shown."""
    require_role(request.membership, Role.RADIOLOGIST)
    step = services.commit_impression(
        study=get_study_by_id(pk),
        impression=request.POST.get("impression", ""),
        user=request.user,
        membership=request.membership,
    )
    return JsonResponse({"committed_at": step.at}) if wants_json(request) else redirect("portal:study", pk=pk)


@require_POST
@members_only
def add_finding(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Add a finding of the reader."""
    require_role(request.membership, Role.RADIOLOGIST)
    added = services.add_reader_finding(
        study=get_study_by_id(pk),
        name=request.POST.get("name", ""),
        sop_instance_uid=request.POST.get("sop_instance_uid", ""),
        box=_box(request.POST.get("box", "")),
        user=request.user,
        membership=request.membership,
    )
    return JsonResponse(added.as_signed, status=201) if wants_json(request) else redirect("portal:study", pk=pk)


@require_POST
@members_only
def remove_finding(request: MemberRequest, pk: UUID, finding_id: UUID) -> HttpResponse:
    """Remove a finding of the reader."""
    require_role(request.membership, Role.RADIOLOGIST)
    services.remove_reader_finding(
        study=get_study_by_id(pk), finding_id=finding_id, user=request.user, membership=request.membership
    )
    return JsonResponse({"removed": str(finding_id)}) if wants_json(request) else redirect("portal:study", pk=pk)


def _box(text: str) -> tuple[int, int, int, int] | None:
    """The four numbers of "x,y,width,height"; None for an empty text."""
    if not text.strip():
        return None
    try:
        x, y, width, height = (round(float(each)) for each in text.split(","))
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(_("The box must be four numbers: x, y, width, height."), "box-unreadable") from error
    return x, y, width, height
