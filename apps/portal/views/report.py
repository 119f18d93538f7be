"""The views of a report: verdicts on findings, signature, PDF."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import authenticate
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from apps.core.errors import (
    ChecxrayError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotPermittedError,
    WithdrawnError,
)
from apps.core.problems import headers_of, status_of
from apps.core.text import whole_number
from apps.inference.models import InferenceJob
from apps.inference.selectors import latest_job
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.portal.selectors import study_page
from apps.reading.selectors import reading_policy
from apps.reports import services
from apps.reports.responses import report_response
from apps.reports.selectors import hides_findings
from apps.studies.models import Study
from apps.studies.selectors import get_study_by_id
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import require_role


def _job_on_page(request: MemberRequest, study: Study) -> InferenceJob | None:
    """The job that the reader saw, None where there was none. Raises ConflictError where there is a newer one."""
    job = latest_job(study)
    if (str(job.pk) if job is not None else "") != request.POST.get("job"):
        raise ConflictError(
            _("The AI has read this study again. Reload the page and look at the new result first."),
            "reading-superseded",
        )
    return job


@require_POST
@members_only
def review(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Store a verdict; an empty one withdraws it."""
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    job = _job_on_page(request, study)
    verdict = request.POST.get("verdict", "")
    label = request.POST.get("label", "")
    finding = next((each for each in job.findings.all() if each.label == label), None) if job else None
    if finding is None or hides_findings(study, request.user):
        raise NotFoundError(_("This study has no such finding."))
    services.review_finding(finding=finding, verdict=verdict, user=request.user, membership=request.membership)
    if wants_json(request):
        return JsonResponse({"label": label, "verdict": verdict})
    return redirect("portal:study", pk=pk)


@require_POST
@members_only
def review_rest(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Agree with all flagged findings that have no verdict."""
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    _job_on_page(request, study)
    agreed = services.agree_with_rest(study=study, user=request.user, membership=request.membership)
    return JsonResponse({"agreed": agreed}) if wants_json(request) else redirect("portal:study", pk=pk)


@opens_own_transaction
@require_POST
@members_only
@sensitive_post_parameters("password")
def sign(request: MemberRequest, pk: UUID) -> HttpResponse:
    """Sign the report. A form that is refused gets the page again, with what was typed."""
    with tenant_tx(request.tenant.id):
        require_role(request.membership, Role.RADIOLOGIST)
        get_study_by_id(pk)
        asks_password = reading_policy().sign_with_password
    try:
        if asks_password:
            # Outside the transaction: a refusal must not roll back the record of the failed attempt.
            _require_password(request)
        with tenant_tx(request.tenant.id):
            return _sign(request, pk)
    except (NotPermittedError, NotFoundError, WithdrawnError):
        raise
    except ChecxrayError as error:
        if wants_json(request):
            raise
        with tenant_tx(request.tenant.id):
            return page_again(request, pk, error)


def _require_password(request: MemberRequest) -> None:
    given = request.POST.get("password", "")
    if not given:
        raise InvalidInputError(_("Enter your password to sign. Nothing was signed."), "password-missing")
    # The sign-in's own check, with its limits on failed attempts.
    found = authenticate(request, username=request.user.email, password=given)
    if found is None or found.pk != request.user.pk:
        raise InvalidInputError(_("This is not your password. Nothing was signed."), "password-wrong")


def _sign(request: MemberRequest, pk: UUID) -> HttpResponse:
    study = get_study_by_id(pk)
    form = request.POST
    amends = form.get("amends", "")
    is_addendum = form.get("kind") == "addendum"
    if not is_addendum:
        _job_on_page(request, study)
    services.sign_report(
        study=study,
        user=request.user,
        membership=request.membership,
        impression=form.get("impression", ""),
        amends=whole_number(amends, default=0),
        reason=form.get("reason", ""),
        is_addendum=is_addendum,
        agree_rest=form.get("agree_rest") == "1",
        without_ai=form.get("without_ai") == "1",
        patient_seen=form.get("patient", ""),
    )
    if is_addendum:
        done = _("The addendum is signed.")
    else:
        done = _("The amended report is signed.") if amends else _("The report is signed.")
    messages.success(request, done)
    address = f"{reverse('portal:next')}?after={pk}" if form.get("next") == "1" else reverse("portal:study", args=[pk])
    return JsonResponse({"signed": True, "address": address}) if wants_json(request) else redirect(address)


def page_again(request: MemberRequest, pk: UUID, error: ChecxrayError) -> HttpResponse:
    page = study_page(pk=pk, membership=request.membership)
    context = {"page": page, "refusal": error, "typed": request.POST}
    response = render(request, "portal/study.html", context, status=status_of(error))
    for name, value in headers_of(error).items():
        response[name] = value
    return response


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
    if hides_findings(study, request.user):
        raise ConflictError(_("Commit your impression first. Then the AI's findings are shown."), "commit-first")
    return report_response(request, study, f"chest-report-{study.pk}.pdf", number=number, draft=draft)
