"""The worklist page, the first page after signing in."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record, record_once
from apps.inference.drift import current_alarm
from apps.portal.access import MemberRequest, members_only
from apps.portal.worklist_query import (
    BY_FINDING,
    LONGEST_SEARCH,
    REPORT_CHOICES,
    SEARCH_KEY,
    SORT_CHOICES,
    STATUS_CHOICES,
    WorklistQuery,
    worklist_page,
)
from apps.registry import engine
from apps.tenants.models import Role
from apps.tenants.services import sees_findings


@require_GET
@members_only
def worklist(request: MemberRequest) -> HttpResponse:
    """The whole page, or only its table for the page's script."""
    with_findings = sees_findings(request.membership)
    query = WorklistQuery.read(request.GET, request.session.get(SEARCH_KEY, ""), with_findings=with_findings)
    context: dict[str, Any] = {
        "page": worklist_page(query),
        "query": query,
        "status_choices": STATUS_CHOICES,
        "report_choices": REPORT_CHOICES,
        "sort_choices": {value: name for value, name in SORT_CHOICES.items() if with_findings or value != BY_FINDING},
        "with_findings": with_findings,
        "labels": engine.LABELS,
    }
    is_fragment = "X-Fragment" in request.headers
    if not is_fragment and (with_findings or request.membership.role == Role.ADMIN):
        context["drift"] = current_alarm(request.tenant.id)
    # The page's script loads the table every few seconds: one audit line is for all these.
    keep = record_once if is_fragment else record
    keep(action=AuditEvent.Action.STUDIES_SEARCHED, by=actor_of(request), operation="portal:worklist")
    template = "portal/_worklist_table.html" if is_fragment else "portal/worklist.html"
    response = render(request, template, context)
    response["Vary"] = "X-Fragment"
    return response


@require_POST
@members_only
def search(request: MemberRequest) -> HttpResponse:
    """Store the search text in the session, and the other filters in the address."""
    text = " ".join(request.POST.get("text", "").replace("\x00", "").split())[:LONGEST_SEARCH]
    request.session[SEARCH_KEY] = text
    query = WorklistQuery.read(request.POST, text, with_findings=sees_findings(request.membership))
    return redirect(reverse("portal:worklist") + query.address)
