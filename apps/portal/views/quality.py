"""The quality pages: what readers' verdicts say of the AI, as counts per finding and version."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.portal.access import MemberRequest, members_only
from apps.quality.dashboard.scope import FEWEST_STUDIES
from apps.quality.selectors import FEWEST_VERDICTS, VersionCounts, counts_as_csv, counts_by_version
from apps.tenants.models import Role
from apps.tenants.services import require_role, sees_findings

MAY_SEE = (Role.RADIOLOGIST, Role.ADMIN)


@require_GET
@members_only
def counts(request: MemberRequest) -> HttpResponse:
    """The counts of each version; they name no study."""
    require_role(request.membership, *MAY_SEE)
    context = {
        "found": _counts_for(request),
        "fewest": FEWEST_VERDICTS,
        "reads": sees_findings(request.membership),
        "fewest_studies": FEWEST_STUDIES,
    }
    return render(request, "portal/quality/counts.html", context)


@require_GET
@members_only
def counts_csv(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, *MAY_SEE)
    found = _counts_for(request)
    record(
        action=AuditEvent.Action.DATA_EXPORTED,
        by=actor_of(request),
        amount=sum(len(each.labels) for each in found),
        operation="portal:quality-csv",
    )
    response = HttpResponse(counts_as_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="verdicts.csv"'
    return response


def _counts_for(request: MemberRequest) -> list[VersionCounts]:
    """For those who see no patient's findings, without the findings that few studies have."""
    return counts_by_version(fewest=1 if sees_findings(request.membership) else FEWEST_STUDIES)
