"""The drift page, for administrators: each week's figures of the version that serves, beside its reference."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.deployment.drift_charts import MOST_WEEKS, drift_charts
from apps.deployment.models import DriftWeek
from apps.deployment.selectors import version_for
from apps.inference.drift import (
    FEWEST_FILMS,
    FIRST_WEEKS,
    accept_weeks,
    current_alarm,
    reference_for,
)
from apps.portal.access import MemberRequest, members_only
from apps.registry import engine
from apps.tenants.models import Role
from apps.tenants.services import require_role


class AcceptForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy(
            "Why the readings may look different from now on, such as a new machine or other patients."
        ),
    )


@require_http_methods(["GET", "POST"])
@members_only
def drift(request: MemberRequest) -> HttpResponse:
    """The weeks of the serving version; a POST makes the last weeks the reference."""
    require_role(request.membership, Role.ADMIN)
    version = version_for(request.tenant.id)
    if version is None:
        return render(request, "portal/drift.html", {"version": None})
    form = AcceptForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            accept_weeks(
                tenant=request.tenant, version=version, by=actor_of(request), reason=form.cleaned_data["reason"]
            )
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            messages.success(request, _("Later weeks are compared with the last ones from now on."))
            return redirect("portal:drift")
    labels = version.manifest["labels"]
    wanted = request.GET.get("label", "")
    label = wanted if wanted in labels else labels[0]
    weeks = list(DriftWeek.objects.filter(for_tenant=request.tenant, model_version=version)[:MOST_WEEKS])
    context = {
        "version": version,
        "weeks": weeks,
        "alarm": current_alarm(request.tenant.id),
        "reference": reference_for(request.tenant.id, version),
        "labels": labels,
        "label": label,
        "charts": drift_charts(weeks, label),
        "form": form,
        "first_weeks": FIRST_WEEKS,
        "fewest_films": FEWEST_FILMS,
        "years": round(1 / engine.FALSE_ALARMS_PER_YEAR),
    }
    return render(request, "portal/drift.html", context)
