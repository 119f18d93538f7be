"""The quick check page: its script reads one image with ``/predict``, which stores nothing."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.deployment.selectors import nameable_versions, version_for
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import Role
from apps.tenants.services import require_role


@require_GET
@members_only
def quick_check(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    active = version_for(request.tenant.id)
    context = {
        "versions": nameable_versions(request.tenant.id).defer("manifest"),
        "in_service": active.pk if active else None,
        "max_file_bytes": settings.MAX_INSTANCE_BYTES,
        "max_file_mib": settings.MAX_INSTANCE_BYTES // 2**20,
    }
    return render(request, "portal/quick_check.html", context)
