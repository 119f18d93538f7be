"""The form to choose an operating point, and the context of its what-if figures.

The operator console and the portal use both.
"""

from typing import Any

from django import forms

from apps.deployment.alarms import alarm_figures
from apps.deployment.models import OperatingPoint
from apps.deployment.points import PointChoice, Strategy, operating_curves
from apps.deployment.selectors import points_for, thresholds_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from apps.trials.what_if import RecentProbabilities, charts, threshold_effect, threshold_effects

_OWN = "own"


class PointForm(forms.Form):
    strategy = forms.ChoiceField(choices=[(_OWN, "The version's own point"), *Strategy.choices])
    target = forms.FloatField(
        required=False, min_value=0, max_value=1, help_text="Sensitivity, specificity or share of studies, 0 to 1."
    )
    value = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label="Threshold",
        help_text="Needed only when the threshold is set by hand.",
    )
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 2}), help_text="The ledger keeps this reason permanently."
    )

    @classmethod
    def of(cls, tenant: Tenant, version: ModelVersion, label: str, data: Any = None) -> "PointForm":
        """The form, filled with the tenant's present choice."""
        row = OperatingPoint.objects.filter(model_version=version, for_tenant=tenant, label=label).first()
        if row is None:
            return cls(data)
        by_hand = row.value if row.strategy == Strategy.MANUAL else None
        return cls(data, initial={"strategy": row.strategy, "target": row.target, "value": by_hand})

    def choice(self) -> PointChoice | None:
        given = self.cleaned_data
        if given["strategy"] == _OWN:
            return None
        return PointChoice(given["strategy"], given["target"], given["value"], given["reason"])


def what_if_context(tenant: Tenant, version: ModelVersion, label: str, found: RecentProbabilities) -> dict[str, Any]:
    """The context of `trials/_what_if.html`: the operating point in force, and the effect of a series of
    other thresholds.
    """
    curve = operating_curves(version).get(label)
    point = points_for(version, tenant.pk)[label]
    shown = threshold_effects(found, curve)
    now = threshold_effect(float(point["value"]), found, curve) if point else None
    return {
        "label": label,
        "version": version,
        "evidence": found,
        "curve": curve,
        "point": point,
        "now": now,
        "steps": [each.to_dict() for each in shown],
        "start": min(range(len(shown)), key=lambda index: abs(shown[index].threshold - now.threshold))
        if now and shown
        else 0,
        "charts": charts(shown),
        "alarms": alarm_figures(version, thresholds_for(version, tenant.pk)),
    }
