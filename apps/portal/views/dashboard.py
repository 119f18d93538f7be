"""The dashboards, for administrators: figures of a period as charts and tables, and each table as CSV."""

import datetime
import zoneinfo
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from apps.audit.models import AuditEvent
from apps.audit.services import actor_of, record
from apps.core.errors import InvalidInputError, NotFoundError
from apps.deployment.drift_charts import MOST_WEEKS
from apps.deployment.models import DriftWeek
from apps.deployment.selectors import version_for
from apps.inference.drift import current_alarm
from apps.portal.access import MemberRequest, members_only
from apps.quality.dashboard import charts
from apps.quality.dashboard.activity import activity
from apps.quality.dashboard.agreement import agreement_by_label, agreement_by_step
from apps.quality.dashboard.alerts import alerts_by_step, alerts_by_version
from apps.quality.dashboard.scope import DAY, FEWEST_STUDIES, MOST_DAYS, MOST_DAYS_BY_DAY, Scope, modalities
from apps.quality.dashboard.tables import TABLES
from apps.tenants.models import Role
from apps.tenants.services import require_role

DEFAULT_DAYS = "30"
_YEARS = [MinValueValidator(datetime.date(1990, 1, 1)), MaxValueValidator(datetime.date(2199, 12, 31))]


def _date_input() -> forms.DateInput:
    return forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class PeriodForm(forms.Form):
    """The period, in days of the hospital's calendar; what is missing has a default."""

    period = forms.ChoiceField(
        label=_("Period"),
        required=False,
        choices=[("7", _("7 days")), ("30", _("30 days")), ("90", _("90 days")), ("own", _("From … to …"))],
    )
    first = forms.DateField(label=_("First day"), required=False, validators=_YEARS, widget=_date_input())
    last = forms.DateField(label=_("Last day"), required=False, validators=_YEARS, widget=_date_input())
    step = forms.ChoiceField(label=_("Grouped by"), required=False, choices=[("day", _("day")), ("week", _("week"))])
    modality = forms.ChoiceField(label=_("Modality"), required=False)

    def __init__(self, data: QueryDict) -> None:
        super().__init__({"period": DEFAULT_DAYS, **data.dict()})
        known = sorted({*modalities(), data.get("modality", "")[:16]} - {""})
        self.fields["modality"].choices = [("", _("All")), *((each, each) for each in known)]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        first, last = chosen.get("first"), chosen.get("last")
        if chosen.get("period") == "own" and not self.errors:
            if first is None or last is None:
                raise forms.ValidationError(_("Enter the first and the last day."))
            if last < first:
                raise forms.ValidationError(_("The last day is before the first."))
            if (last - first).days >= MOST_DAYS:
                raise forms.ValidationError(_("Choose at most %(days)d days."), params={"days": MOST_DAYS})
        return chosen

    @cached_property
    def scope(self) -> Scope:
        """What the form chooses; the default period where it is not valid."""
        chosen = self.cleaned_data if self.is_valid() else {}
        zone = timezone.get_current_timezone()
        assert isinstance(zone, zoneinfo.ZoneInfo)
        if chosen.get("period") == "own":
            first, last = chosen["first"], chosen["last"]
        else:
            last = timezone.localdate()
            first = last - (int(chosen.get("period") or DEFAULT_DAYS) - 1) * DAY
        by_week = chosen.get("step") == "week" or (last - first).days >= MOST_DAYS_BY_DAY
        return Scope(first, last, "week" if by_week else "day", zone, chosen.get("modality") or "")

    @property
    def address(self) -> str:
        """The query that leads to the same period on another page."""
        return urlencode({name: value for name, value in self.data.items() if value and name in self.fields})


@require_GET
@members_only
def volume(request: MemberRequest) -> HttpResponse:
    """Volume and turnaround."""
    require_role(request.membership, Role.ADMIN)
    form = PeriodForm(request.GET)
    rows, whole = activity(form.scope)
    context = {
        "rows": [(form.scope.days_of(start), each) for start, each in rows.items()],
        "whole": whole,
        "volume_chart": charts.volume_chart(rows, form.scope),
        "turnaround_charts": charts.turnaround_charts(rows, form.scope),
    }
    return _page(request, "volume", form, context)


@require_GET
@members_only
def alerts(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    form = PeriodForm(request.GET)
    rows, versions = alerts_by_step(form.scope), alerts_by_version(form.scope, request.tenant)
    context = {
        "rows": [(form.scope.days_of(start), each) for start, each in rows.items()],
        "over_time": charts.alert_chart(rows, form.scope),
        "versions": [(each, charts.version_alerts_chart(each)) for each in versions],
        "fewest": FEWEST_STUDIES,
    }
    return _page(request, "alerts", form, context)


@require_GET
@members_only
def agreement(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    form = PeriodForm(request.GET)
    steps, labels = agreement_by_step(form.scope), agreement_by_label(form.scope)
    context = {
        "rows": [(form.scope.days_of(start), each) for start, each in steps.items()],
        "labels": labels,
        "over_time": charts.agreement_chart(steps, form.scope),
        "by_label": charts.label_agreement_chart(labels),
        "fewest": FEWEST_STUDIES,
    }
    return _page(request, "agreement", form, context)


@require_GET
@members_only
def drift(request: MemberRequest) -> HttpResponse:
    """The weeks that `apps.inference.drift` counted, of all findings at once."""
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.pk)
    weeks = list(DriftWeek.objects.filter(for_tenant=request.tenant, model_version=version)[:MOST_WEEKS])
    context = {
        "version": version,
        "weeks": weeks,
        "alarm": current_alarm(request.tenant.pk),
        "charts": charts.all_drift_charts(weeks, version.manifest["labels"]) if version else [],
    }
    return _page(request, "drift", PeriodForm(request.GET), context)


@require_GET
@members_only
def table(request: MemberRequest, name: str) -> HttpResponse:
    """One table as CSV, of the period that the page showed."""
    require_role(request.membership, Role.ADMIN)
    form = PeriodForm(request.GET)
    if name not in TABLES:
        raise NotFoundError(gettext("There is no such table."), "table-not-found")
    if not form.is_valid():
        problems = " ".join(str(each) for errors in form.errors.values() for each in errors)
        raise InvalidInputError(problems, "invalid-period")
    text = TABLES[name](form.scope, request.tenant)
    rows = text.count("\n") - 1
    record(action=AuditEvent.Action.DATA_EXPORTED, by=actor_of(request), amount=rows, operation="portal:dashboard-csv")
    response = HttpResponse(text, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{form.scope.first}-{form.scope.last}.csv"'
    return response


def _page(request: MemberRequest, here: str, form: PeriodForm, context: dict[str, Any]) -> HttpResponse:
    context |= {"here": here, "form": form, "scope": form.scope, "address": form.address}
    return render(request, f"portal/dashboard/{here}.html", context)
