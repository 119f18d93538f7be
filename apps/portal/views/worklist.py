"""The worklist: the first page after signing in."""

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from apps.portal.access import MemberRequest, members_only
from apps.portal.worklist import (
    LONGEST_SEARCH,
    REPORT_CHOICES,
    SEARCH_KEY,
    SORT_CHOICES,
    STATUS_CHOICES,
    WorklistQuery,
    worklist_page,
)
from apps.registry import engine


@require_GET
@members_only
def worklist(request: MemberRequest) -> HttpResponse:
    """The whole page, or its table alone where the page's script asks for news."""
    query = WorklistQuery.read(request.GET, request.session.get(SEARCH_KEY, ""))
    context = {
        "page": worklist_page(query),
        "query": query,
        "status_choices": STATUS_CHOICES,
        "report_choices": REPORT_CHOICES,
        "sort_choices": SORT_CHOICES,
        "labels": engine.LABELS,
    }
    template = "portal/_worklist_table.html" if "X-Fragment" in request.headers else "portal/worklist.html"
    response = render(request, template, context)
    response["Vary"] = "X-Fragment"
    return response


@require_POST
@members_only
def search(request: MemberRequest) -> HttpResponse:
    """Keep the search text in the session and the other filters in the address."""
    text = " ".join(request.POST.get("text", "").replace("\x00", "").split())[:LONGEST_SEARCH]
    request.session[SEARCH_KEY] = text
    query = WorklistQuery.read(request.POST, text)
    return redirect(reverse("portal:worklist") + query.address)
