"""The worklist page, the first page after signing in, and the way through its studies."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record, record_once
from apps.core.errors import InvalidInputError
from apps.inference.drift import current_alarm
from apps.inference.models import Priority
from apps.portal.access import MemberRequest, members_only, wants_json
from apps.portal.conditional import known_state, unless_same
from apps.portal.next_study import current_list, list_address, next_study, read_list, remember_list, shows_findings
from apps.portal.worklist_page import PAGE_SIZE, list_state, worklist_page
from apps.portal.worklist_query import ASSIGNED_CHOICES, LONGEST_SEARCH, REPORT_CHOICES, SEARCH_KEY, STATUS_CHOICES
from apps.reading.selectors import readers, reading_policy, saved_views
from apps.reading.worklist import assign_studies, mark_unread, remove_view, save_view, set_priority
from apps.registry import engine
from apps.tenants.models import Role
from apps.tenants.services import require_role, sees_findings


@require_GET
@members_only
def worklist(request: MemberRequest) -> HttpResponse:
    """The whole page, or only its table for the page's script."""
    query = read_list(request, request.GET)
    is_fragment = "X-Fragment" in request.headers
    # The page's script loads the table every few seconds: one audit line is for all these.
    keep = record_once if is_fragment else record
    keep(action=AuditEvent.Action.STUDIES_SEARCHED, by=actor_of(request), operation="portal:worklist")
    state = list_state(query, user_id=request.user.pk) if is_fragment else ""
    response = (known_state(request, state) if is_fragment else None) or _answer(request, query, state, is_fragment)
    response["Vary"] = "X-Fragment"
    return response


def _answer(request: MemberRequest, query: Any, state: str, is_fragment: bool) -> HttpResponse:
    context: dict[str, Any] = {
        "page": worklist_page(query, user_id=request.user.pk),
        "query": query,
        "with_findings": shows_findings(request),
        "reads": sees_findings(request.membership),
    }
    if is_fragment:
        return unless_same(request, render(request, "portal/_worklist_table.html", context), state)
    remember_list(request, query)
    context |= {
        "status_choices": STATUS_CHOICES,
        "report_choices": REPORT_CHOICES,
        "assigned_choices": ASSIGNED_CHOICES,
        "labels": engine.LABELS,
        "policy": reading_policy(),
        "colleagues": [each for each in readers() if each.pk != request.user.pk] if context["reads"] else [],
        "views": saved_views(request.user.pk),
    }
    if context["reads"] or request.membership.role == Role.ADMIN:
        context["drift"] = current_alarm(request.tenant.id)
    return render(request, "portal/worklist.html", context)


@require_POST
@members_only
def search(request: MemberRequest) -> HttpResponse:
    """Store the search text in the session, and the other filters in the address."""
    text = " ".join(request.POST.get("text", "").replace("\x00", "").split())[:LONGEST_SEARCH]
    request.session[SEARCH_KEY] = text
    return redirect(reverse("portal:worklist") + read_list(request, request.POST).at("").address)


@require_GET
@members_only
def following(request: MemberRequest) -> HttpResponse:
    """Go to the next study of the reader's list, or to the list where none is left; as JSON for prefetching."""
    require_role(request.membership, Role.RADIOLOGIST)
    try:
        after = UUID(request.GET.get("after", ""))
    except ValueError:
        after = None
    study = next_study(request, after)
    if wants_json(request):
        if study is None:
            return JsonResponse({"study": None, "film": None})
        return JsonResponse({name: reverse(f"portal:{name}", args=[study.pk]) for name in ("study", "film")})
    if study is None:
        messages.success(request, _("This list is done: every study in it is signed."))
        return redirect(list_address(request))
    return redirect("portal:study", pk=study.pk)


@require_POST
@members_only
def change(request: MemberRequest) -> HttpResponse:
    """Assign the chosen studies, set their priority, or mark them as not opened."""
    chosen = _uuids(request.POST.getlist("study"))[:PAGE_SIZE]
    if not chosen:
        raise InvalidInputError(_("Select at least one study first."), "no-study-selected")
    what, _colon, value = request.POST.get("do", "").partition(":")
    who: dict[str, Any] = {"by": actor_of(request), "membership": request.membership}
    if what == "assign":
        to = {"me": request.user.pk, "none": None}.get(value, next(iter(_uuids([value])), None))
        if to is None and value != "none":
            raise InvalidInputError(_("Choose a colleague."), "reader-unknown")
        count = assign_studies(study_ids=chosen, to=to, **who)
    elif what == "priority" and value in ("stat", "routine"):
        priority = Priority.STAT if value == "stat" else Priority.ROUTINE
        count = set_priority(study_ids=chosen, priority=priority, **who)
    elif what == "unread":
        count = mark_unread(study_ids=chosen, user_id=request.user.pk)
    else:
        raise InvalidInputError(_("Choose what to do with the selected studies."), "action-unknown")
    messages.success(
        request, ngettext("%(count)d study changed.", "%(count)d studies changed.", count) % {"count": count}
    )
    return redirect(list_address(request))


def _uuids(texts: list[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


@require_POST
@members_only
def keep_view(request: MemberRequest) -> HttpResponse:
    """Save the current filters and order under a name."""
    address = current_list(request).at("").address
    view = save_view(user=request.user, name=request.POST.get("name", ""), address=address)
    messages.success(request, _("The view “%(name)s” is saved.") % {"name": view.name})
    return redirect(list_address(request))


@require_POST
@members_only
def drop_view(request: MemberRequest, view_id: UUID) -> HttpResponse:
    remove_view(user=request.user, view_id=view_id)
    messages.success(request, _("The view is removed."))
    return redirect(list_address(request))
