"""The list that a person works through, and the study that comes next in it."""

from uuid import UUID

from django.http import QueryDict
from django.urls import reverse

from apps.portal.access import MemberRequest
from apps.portal.worklist_page import next_entry
from apps.portal.worklist_query import LIST_KEY, SEARCH_KEY, WorklistQuery
from apps.reading.models import AiDisplay
from apps.reading.selectors import reading_policy
from apps.studies.models import Study
from apps.tenants.services import sees_findings


def shows_findings(request: MemberRequest) -> bool:
    """Whether lists name findings: not where studies are read blind first, because a list would tell them before."""
    return sees_findings(request.membership) and reading_policy().ai_display != AiDisplay.BLIND_FIRST


def read_list(request: MemberRequest, params: QueryDict) -> WorklistQuery:
    """The list that these parameters and the session's search text describe, as this member may see it."""
    return WorklistQuery.read(
        params,
        request.session.get(SEARCH_KEY, ""),
        with_findings=shows_findings(request),
        with_order=sees_findings(request.membership),
    )


def remember_list(request: MemberRequest, query: WorklistQuery) -> None:
    """Keep the list that the member sees in the session; the search text is there already."""
    if request.session.get(LIST_KEY) != query.address:
        request.session[LIST_KEY] = query.address


def list_address(request: MemberRequest) -> str:
    """The address of the list that the member saw last, with its filters and its page."""
    return str(reverse("portal:worklist")) + request.session.get(LIST_KEY, "")


def current_list(request: MemberRequest) -> WorklistQuery:
    """The list that the member saw last."""
    return read_list(request, QueryDict(request.session.get(LIST_KEY, "").lstrip("?")))


def next_study(request: MemberRequest, after: UUID | None = None) -> Study | None:
    """The next study of the reader's list that is not signed and not assigned to another; None where the list is done.

    Args:
        after: the study that the reader has just left; it is never the next one.
    """
    entry = next_entry(current_list(request), user_id=request.user.pk, after=after)
    return entry.study if entry is not None else None
