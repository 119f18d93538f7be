"""Hospital settings, Reading: the page on which an administrator sets how the hospital's radiologists read."""

import zoneinfo
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.audit.services import actor_of
from apps.portal.access import MemberRequest, members_only
from apps.reading.models import URGENCY, ReadingPolicy
from apps.reading.selectors import reading_policy as policy_in_force
from apps.reading.services import change_reading_policy
from apps.tenants.models import Role
from apps.tenants.services import require_role


class UrgencyField(forms.CharField):
    """An order of labels, written one per line."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = [line.strip() for line in (value or "").splitlines() if line.strip()]
        if sorted(lines) != sorted(URGENCY):
            missing = ", ".join(sorted({*URGENCY} - {*lines})) or _("none")
            unknown = ", ".join(sorted({*lines} - {*URGENCY})) or _("none")
            raise forms.ValidationError(
                _("Name each finding once. Missing: %(missing)s. Unknown: %(unknown)s.")
                % {"missing": missing, "unknown": unknown}
            )
        return lines


class ReadingPolicyForm(forms.ModelForm):
    urgency = UrgencyField(
        label=gettext_lazy("Order of urgency"),
        help_text=gettext_lazy("One finding per line, the most urgent one first."),
    )
    time_zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        choices=lambda: [(name, name) for name in sorted(zoneinfo.available_timezones())],
    )

    class Meta:
        model = ReadingPolicy
        fields = (
            "ai_display",
            "urgency",
            "waiting_cap",
            "discordances_a_day",
            "sign_with_password",
            "language",
            "time_zone",
            "letterhead",
        )


@require_http_methods(["GET", "POST"])
@members_only
def reading_policy(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    posted: Any = request.POST if request.method == "POST" else None
    form = ReadingPolicyForm(posted, instance=policy_in_force())
    if request.method == "POST" and form.is_valid():
        change_reading_policy(membership=request.membership, by=actor_of(request), **form.cleaned_data)
        messages.success(request, _("Saved. It holds from the next page on."))
        return redirect("portal:reading-policy")
    return render(request, "portal/settings/reading_policy.html", {"form": form})
