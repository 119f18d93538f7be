"""The form to choose an operating point, and the context of its what-if figures.

The operator console and the portal use both.
"""

from dataclasses import replace
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from apps.deployment.alarms import alarm_figures
from apps.deployment.models import OperatingPoint, Recalibration
from apps.deployment.points import PointChoice, Strategy, operating_curves
from apps.deployment.selectors import points_for, recalibration_for, thresholds_for
from apps.registry.models import ModelVersion
from apps.tenants.models import Tenant
from apps.trials.what_if import RecentProbabilities, ThresholdEffect, charts, threshold_effect, threshold_effects

_OWN = "own"


class PointForm(forms.Form):
    strategy = forms.ChoiceField(
        label=gettext_lazy("Strategy"), choices=[(_OWN, gettext_lazy("The version's own point")), *Strategy.choices]
    )
    target = forms.FloatField(
        label=gettext_lazy("Target"),
        required=False,
        min_value=0,
        max_value=1,
        help_text=gettext_lazy("Sensitivity, specificity or share of studies, 0 to 1."),
    )
    value = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label=gettext_lazy("Threshold"),
        help_text=gettext_lazy("Needed only when the threshold is set by hand."),
    )
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("The ledger keeps this reason permanently."),
    )

    @classmethod
    def of(cls, tenant: Tenant, version: ModelVersion, label: str, data: Any = None) -> "PointForm":
        """The form, filled with the tenant's present choice; a threshold is on the scale that the tenant sees."""
        row = OperatingPoint.objects.filter(model_version=version, for_tenant=tenant, label=label).first()
        recalibration = recalibration_for(version, tenant.pk)
        initial: dict[str, Any] = {}
        if row is not None:
            by_hand = shown(recalibration, label, row.value) if row.strategy == Strategy.MANUAL else None
            initial = {"strategy": row.strategy, "target": row.target, "value": by_hand}
        form = cls(data, initial=initial)
        form.label, form.recalibration = label, recalibration
        return form

    label = ""
    recalibration: Recalibration | None = None

    def choice(self) -> PointChoice | None:
        """The choice, with a threshold on the version's own scale."""
        given = self.cleaned_data
        if given["strategy"] == _OWN:
            return None
        value = given["value"]
        if value is not None and self.recalibration is not None and 0.0 < value < 1.0:
            value = self.recalibration.of_version(self.label, value)
        return PointChoice(given["strategy"], given["target"], value, given["reason"])


def shown(recalibration: Recalibration | None, label: str, value: float) -> float:
    """A probability of the version on the scale that the tenant sees."""
    return value if recalibration is None else recalibration.shown(label, value)


def what_if_context(tenant: Tenant, version: ModelVersion, label: str, found: RecentProbabilities) -> dict[str, Any]:
    """The context of `trials/_what_if.html`: the operating point in force, and the effect of a series of
    other thresholds.
    """
    curve = operating_curves(version).get(label)
    point = points_for(version, tenant.pk)[label]
    recalibration = recalibration_for(version, tenant.pk)

    def moved(effect: ThresholdEffect) -> ThresholdEffect:
        return replace(effect, threshold=shown(recalibration, label, effect.threshold))

    effects = [moved(each) for each in threshold_effects(found, curve)]
    now = moved(threshold_effect(float(point["value"]), found, curve)) if point else None
    return {
        "label": label,
        "version": version,
        "evidence": found,
        "curve": curve,
        "point": point and {**point, "value": shown(recalibration, label, point["value"])},
        "now": now,
        "steps": [each.to_dict() for each in effects],
        "start": min(range(len(effects)), key=lambda index: abs(effects[index].threshold - now.threshold))
        if now and effects
        else 0,
        "charts": charts(effects),
        "alarms": alarm_figures(version, thresholds_for(version, tenant.pk)),
    }
