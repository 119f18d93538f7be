"""Inserts a text into the impression of a study: for the script the text itself, without it the stored draft."""

from uuid import UUID

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from apps.accounts.models import User
from apps.core.errors import ChecxrayError, InvalidInputError
from apps.core.text import whole_number
from apps.inference.selectors import latest_job
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.portal.views.report import page_again
from apps.reading.selectors import texts_for
from apps.reports import services
from apps.reports.prefill import text_of_findings
from apps.reports.selectors import hides_findings, is_complete
from apps.studies.models import Study
from apps.studies.selectors import get_study_by_id
from apps.tenants.models import Role
from apps.tenants.services import require_role

_OF_FINDINGS = {"findings": False, "normal": True}


@require_POST
@members_only
def insert(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The chosen text, or the page with it at the end of the impression."""
    require_role(request.membership, Role.RADIOLOGIST)
    study = get_study_by_id(pk)
    try:
        text = _text(study, request.POST.get("text", ""), request.user)
        if wants_json(request):
            return JsonResponse({"text": text})
        typed = request.POST.get("impression", "").rstrip()
        services.save_draft(
            study=study,
            impression=f"{typed}\n{text}".strip(),
            revision=whole_number(request.POST.get("revision", ""), default=0),
            user=request.user,
            membership=request.membership,
        )
    except ChecxrayError as error:
        if wants_json(request):
            raise
        return page_again(request, pk, error)
    return redirect("portal:study", pk=pk)


def _text(study: Study, chosen: str, user: User) -> str:
    if chosen not in _OF_FINDINGS:
        block = next((each for each in texts_for(user) if str(each.pk) == chosen), None)
        if block is None:
            raise InvalidInputError(_("There is no such text. It may have been removed meanwhile."), "text-not-found")
        return block.text
    job = latest_job(study)
    seen = job if is_complete(job) and not hides_findings(study, user) else None
    return text_of_findings(study=study, job=seen, with_normal=_OF_FINDINGS[chosen])
