"""The views of a study's image and heatmaps as PNG. They render outside the transaction."""

from http import HTTPStatus
from uuid import UUID

from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, operation_of, record_once
from apps.core.errors import NotFoundError
from apps.core.text import whole_number
from apps.inference.rendering import contribution_values, heatmap_png, image_png
from apps.inference.selectors import get_heatmap, latest_job
from apps.portal.access import MemberRequest, members_only
from apps.registry import engine
from apps.reports.selectors import hides_findings
from apps.studies.models import Instance
from apps.studies.selectors import get_study_by_id, instances_of
from apps.tenants.middleware import opens_own_transaction
from apps.tenants.models import Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import require_role


@opens_own_transaction
@require_GET
@members_only
def film(request: MemberRequest, pk: UUID) -> HttpResponse:
    """The image that was read; ``?image=2`` is the study's second."""
    with tenant_tx(request.tenant.id):
        instance = _instance(pk, request.GET.get("image", ""))
        _record_access(request, pk)
    tag = f'"{instance.sha256}-{engine.DISPLAY_VERSION}"'
    if request.headers.get("If-None-Match") == tag:
        return _picture(b"", tag, HTTPStatus.NOT_MODIFIED)
    return _picture(image_png(instance), tag)


def _instance(pk: UUID, number: str) -> Instance:
    study = get_study_by_id(pk)
    job = latest_job(study)
    if not number and job is not None and job.instance is not None and not job.instance.is_held:
        return job.instance
    instances = instances_of(study)
    index = whole_number(number, default=0) - 1 if number else 0
    if not 0 <= index < len(instances):
        raise NotFoundError(_("This study has no such image."), "image-not-found")
    return instances[index]


@opens_own_transaction
@require_GET
@members_only
def heatmap(request: MemberRequest, pk: UUID, label: str) -> HttpResponse:
    """A finding's map as a picture; ``?as=values`` gives its numbers, for contours."""
    require_role(request.membership, Role.RADIOLOGIST)
    with tenant_tx(request.tenant.id):
        study = get_study_by_id(pk)
        if hides_findings(study, request.user):
            raise NotFoundError(_("This study has no heatmap of that name."), "heatmap-not-found")
        found = get_heatmap(study=study, label=label)
        _record_access(request, pk)
    if request.GET.get("as") == "values":
        return JsonResponse(contribution_values(found), headers={"Cache-Control": "private, no-cache"})
    tag = f'"{found.finding.pk}-{engine.DISPLAY_VERSION}"'
    if request.headers.get("If-None-Match") == tag:
        return _picture(b"", tag, HTTPStatus.NOT_MODIFIED)
    return _picture(heatmap_png(found), tag)


def _record_access(request: MemberRequest, pk: UUID) -> None:
    record_once(
        action=AuditEvent.Action.STUDY_VIEWED, by=actor_of(request), object_id=pk, operation=operation_of(request)
    )


def _picture(png: bytes, tag: str, status: int = HTTPStatus.OK) -> HttpResponse:
    response = HttpResponse(png, content_type="image/png", status=status)
    response["ETag"] = tag
    # The browser must revalidate each time, so that it shows no image after the user has signed out.
    response["Cache-Control"] = "private, no-cache"
    return response
