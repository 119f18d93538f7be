"""The views of a report: verdicts on findings, signature, PDF."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_GET, require_POST

from apps.core.errors import ConflictError, NotFoundError
from apps.inference.models import InferenceJob
from apps.inference.selectors import latest_job
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.reports import services
from apps.reports.responses import report_response
from apps.studies.models import Study
from apps.studies.selectors import get_study_by_id
from apps.tenants.models import Role
from apps.tenants.services import require_role


def _job_on_page(request: MemberRequest, study: Study) -> InferenceJob:
    """The job that the reader saw. Raises ConflictError where there is a newer one."""
    job = latest_job(study)
    if job is None or str(job.pk) != request.POST.get("job"):
        raise ConflictError("The AI has read this study again. Reload the page and look at the new result first.")
    return job


@require_POST
@members_only
def review(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    job = _job_on_page(request, study)
    verdict = request.POST.get("verdict", "")
    label = request.POST.get("label", "")
    finding = next((each for each in job.findings.all() if each.label == label), None)
    if finding is None:
        raise NotFoundError("This study has no such finding.")
    services.review_finding(finding=finding, verdict=verdict, user=request.user, membership=request.membership)
    if wants_json(request):
        return JsonResponse({"label": label, "verdict": verdict})
    return redirect("portal:study", pk=pk)


@require_POST
@members_only
def sign(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    _job_on_page(request, study)
    impression = request.POST.get("impression", "")
    amends = request.POST.get("amends", "")
    services.sign_report(
        study=study,
        user=request.user,
        membership=request.membership,
        impression=impression,
        amends=int(amends) if amends.isascii() and amends.isdigit() else 0,
        reason=request.POST.get("reason", ""),
    )
    messages.success(request, "The amended report is signed." if amends else "The report is signed.")
    return redirect("portal:study", pk=pk)


@require_GET
@members_only
def pdf(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The signed report, or else the preliminary one."""
    return _pdf(request, pk)


@require_GET
@members_only
def draft_pdf(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The preliminary report, also where there is a signed one."""
    return _pdf(request, pk, draft=True)


@require_GET
@members_only
def version_pdf(request: MemberRequest, pk: UUID, number: int) -> HttpResponse:
    """One signed version."""
    return _pdf(request, pk, number=number)


def _pdf(request: MemberRequest, pk: UUID, *, number: int | None = None, draft: bool = False) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    return report_response(request, study, f"chest-report-{study.pk}.pdf", number=number, draft=draft)
