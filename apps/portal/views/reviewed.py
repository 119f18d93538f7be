"""The reviewed studies of the hospital as data, for administrators: what an export would hold, and the export."""

from collections import Counter
from dataclasses import dataclass

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.portal.access import MemberRequest, members_only
from apps.registry import engine
from apps.tenants.models import Role
from apps.tenants.services import require_role
from apps.trials.reviewed_export import MOST_IN_ONE_FILE, as_zip, require_enough, reviewed_films


@dataclass(frozen=True)
class LabelCount:
    label: str
    present: int
    absent: int
    unknown: int


@require_GET
@members_only
def reviewed(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    films = reviewed_films(MOST_IN_ONE_FILE)
    present = Counter(label for film in films for label in film.present)
    unknown = Counter(label for film in films for label in film.unknown)
    context = {
        "films": len(films),
        "patients": len({film.patient for film in films}),
        "rows": [
            LabelCount(label, present[label], len(films) - present[label] - unknown[label], unknown[label])
            for label in engine.LABELS
        ],
        "most": MOST_IN_ONE_FILE,
    }
    return render(request, "portal/reviewed.html", context)


@require_POST
@members_only
def export(request: MemberRequest) -> HttpResponseBase:
    """The latest reviewed films as a ZIP archive; only the storage is read while it is sent."""
    require_role(request.membership, Role.ADMIN)
    films = reviewed_films(MOST_IN_ONE_FILE)
    require_enough(films)
    record(
        action=AuditEvent.Action.DATA_EXPORTED,
        by=actor_of(request),
        amount=len(films),
        operation="portal:reviewed-export",
    )
    response = StreamingHttpResponse(as_zip(films), content_type="application/zip")
    response["Content-Disposition"] = 'attachment; filename="reviewed.zip"'
    return response
