"""Quick check: one film read at once and stored nowhere. The page's script asks the REST API; this is its frame."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.portal.access import MemberRequest, members_only
from apps.registry.models import ModelVersion
from apps.registry.selectors import version_id_in_service


@require_GET
@members_only
def quick_check(request: MemberRequest) -> HttpResponse:
    context = {
        "versions": ModelVersion.objects.defer("manifest"),
        "in_service": version_id_in_service(),
        "max_file_bytes": settings.MAX_INSTANCE_BYTES,
        "max_file_mib": settings.MAX_INSTANCE_BYTES // 2**20,
    }
    return render(request, "portal/quick_check.html", context)
