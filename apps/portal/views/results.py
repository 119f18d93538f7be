"""Hospital settings, Results: which DICOM objects are created; and the objects of a study as files."""

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import NotFoundError
from apps.portal.access import MemberRequest, members_only
from apps.reports.selectors import hides_findings
from apps.results.models import ResultPolicy
from apps.results.selectors import ended_without_objects, get_object, open_jobs
from apps.results.selectors import result_policy as policy_in_force
from apps.results.services import change_result_policy, try_again
from apps.studies.selectors import get_study_by_id
from apps.studies.storage import local_path
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import require_role


class ResultPolicyForm(forms.ModelForm):
    class Meta:
        model = ResultPolicy
        fields = ("secondary_capture", "structured_report", "encapsulated_pdf")
        labels: ClassVar = {
            "secondary_capture": _("Secondary Capture: the image with the result drawn on it"),
            "structured_report": _("Structured Report: findings as coded content (TID 1500)"),
            "encapsulated_pdf": _("Encapsulated PDF: the signed report"),
        }


@require_http_methods(["GET", "POST"])
@members_only
def result_policy(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    posted: Any = request.POST if request.method == "POST" else None
    form = ResultPolicyForm(posted, instance=policy_in_force())
    if request.method == "POST" and form.is_valid():
        change_result_policy(membership=request.membership, by=actor_of(request), **form.cleaned_data)
        messages.success(request, gettext("Saved. It holds for results from now on."))
        return redirect("portal:result-policy")
    page = {"form": form, "failed": ended_without_objects(), "waiting": open_jobs()}
    return render(request, "portal/settings/results.html", page)


@require_POST
@members_only
def retry(request: MemberRequest, job_id: UUID) -> HttpResponse:
    try_again(job_id=job_id, membership=request.membership, by=actor_of(request))
    messages.success(request, gettext("The objects are created again."))
    return redirect("portal:result-policy")


@opens_own_transaction
@require_GET
@members_only
def result_object(request: MemberRequest, pk: UUID, object_id: UUID) -> HttpResponse:
    """One object as a DICOM file, for people who may see findings."""
    require_role(request.membership, Role.RADIOLOGIST)
    with tenant_tx(request.tenant.id):
        study = get_study_by_id(pk)
        found = get_object(study=study, object_id=object_id)
        if hides_findings(study, request.user):
            raise NotFoundError(gettext("This study has no such result object."), "result-object-not-found")
        record(action=AuditEvent.Action.RESULT_READ, by=actor_of(request), object_id=found.pk)
    with local_path(found.object_key) as path:
        response = HttpResponse(path.read_bytes(), content_type="application/dicom")
    response["Content-Disposition"] = f'attachment; filename="{found.kind}-{found.pk}.dcm"'
    return response
