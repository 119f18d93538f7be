"""The trial page, for administrators: a challenger's findings beside those of the serving version."""

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import NotFoundError
from apps.core.text import whole_number
from apps.deployment.models import Challenger
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import Role
from apps.tenants.services import require_role
from apps.trials.comparison import Call, Comparison, Pair
from apps.trials.disagreement import canary_of, comparison_of, pairs_as_csv, trials_of
from apps.trials.recommendation import recommend

PAGE_SIZE = 50


@dataclass(frozen=True)
class Dispute:
    """One finding of one study that the two versions call differently.

    ``case`` counts the compared studies from the newest. An administrator sees no patient's findings, so no study is
    named.
    """

    case: int
    label: str
    serving: Call
    challenger: Call
    present: bool | None

    @property
    def calls(self) -> tuple[Call, Call]:
        return self.serving, self.challenger


@require_GET
@members_only
def trial(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    trials = trials_of(request.tenant.pk)
    if not trials:
        return render(request, "portal/trial.html", {"trials": []})
    chosen = _chosen(request, trials)
    found = comparison_of(chosen)
    label = _label(request, found)
    disputes = _disputes(found, label)
    page = _number(request.GET.get("page", "1"))
    first = (page - 1) * PAGE_SIZE
    context = {
        "trials": trials,
        "trial": chosen,
        "found": found,
        "canary": canary_of(chosen),
        "advice": recommend(found),
        "label": label,
        "disputes": disputes[first : first + PAGE_SIZE],
        "total": len(disputes),
        "previous": _address(chosen, label, page - 1) if page > 1 else None,
        "next": _address(chosen, label, page + 1) if first + PAGE_SIZE < len(disputes) else None,
        "export": _address(chosen, label),
    }
    return render(request, "portal/trial.html", context)


@require_GET
@members_only
def export(request: MemberRequest) -> HttpResponse:
    """CSV of all studies that both versions read, with both results; of one finding where one is chosen."""
    require_role(request.membership, Role.ADMIN)
    chosen = _chosen(request, trials_of(request.tenant.pk))
    found = comparison_of(chosen)
    record(
        action=AuditEvent.Action.DATA_EXPORTED,
        by=actor_of(request),
        object_id=chosen.pk,
        amount=len(found.pairs),
        operation="portal:trial-csv",
    )
    response = HttpResponse(pairs_as_csv(found.pairs, _label(request, found)), content_type="text/csv; charset=utf-8")
    name = f"{chosen.model_version.name}-{chosen.model_version.number}"
    response["Content-Disposition"] = f'attachment; filename="disagreement-{name}.csv"'
    return response


def _chosen(request: HttpRequest, trials: list[Challenger]) -> Challenger:
    """The requested trial, or else the first."""
    wanted = request.GET.get("trial", "")
    for each in trials:
        if wanted in ("", str(each.pk)):
            return each
    raise NotFoundError(_("There is no such trial in this hospital."), "trial-not-found")


def _label(request: HttpRequest, found: Comparison) -> str:
    wanted = request.GET.get("label", "")
    return wanted if wanted in {each.label for each in found.labels} else ""


def _disputes(found: Comparison, label: str) -> list[Dispute]:
    return [
        _dispute(case, pair, name)
        for case, pair in enumerate(found.pairs, start=1)
        for name in pair.disputed
        if not label or name == label
    ]


def _dispute(case: int, pair: Pair, label: str) -> Dispute:
    return Dispute(case, label, pair.serving[label], pair.challenger[label], pair.present.get(label))


def _number(text: str) -> int:
    return min(max(whole_number(text, default=1), 1), 9_999)


def _address(chosen: Challenger, label: str, page: int = 1) -> str:
    kept = {"trial": str(chosen.pk), "label": label, "page": str(page) if page > 1 else ""}
    return "?" + urlencode({name: value for name, value in kept.items() if value})
