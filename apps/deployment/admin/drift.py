"""Console pages of drift: each week's figures of a version at a tenant, and what they are compared with."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from apps.audit.operator_access import ShowsTenants
from apps.core.html_tables import table
from apps.deployment.drift_charts import MOST_WEEKS, drift_charts
from apps.deployment.models import DriftReference, DriftWeek
from apps.tenants.operator_admin import ScopeFilter


class AlarmFilter(admin.SimpleListFilter):
    title = "alarm"
    parameter_name = "alarm"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("1", "Outside the control limits")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[DriftWeek]") -> "QuerySet[DriftWeek]":
        return queryset.exclude(alarms=[]) if self.value() else queryset


@admin.register(DriftWeek)
class DriftWeekAdmin(ShowsTenants):
    list_display = ("week", "for_tenant", "model_version", "read", "refused", "alarm_count")
    list_filter = (AlarmFilter, ("for_tenant", ScopeFilter))
    list_select_related = ("for_tenant", "model_version")
    fields = (
        "week", "for_tenant", "model_version", "read", "refused", "view_positions", "reference", "outside", "charts",
        "compared", "at",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description="Alarms")
    def alarm_count(self, week: DriftWeek) -> int:
        return len(week.alarms)

    @admin.display(description="Films by view position")
    def view_positions(self, week: DriftWeek) -> str:
        return ", ".join(f"{view or 'not given'} {films}" for view, films in week.views.items()) or "–"

    @admin.display(description="Outside the control limits")
    def outside(self, week: DriftWeek) -> str:
        return "; ".join(week.alarm_texts) or ("Nothing" if week.figures else "Not tested")

    @admin.display(description="Up to this week")
    def charts(self, week: DriftWeek) -> SafeString:
        """Of the finding that is furthest outside, or else of the version's first."""
        labels = [each["label"] for each in week.alarms if each["label"]]
        weeks = DriftWeek.objects.filter(for_tenant=week.for_tenant_id, model_version=week.model_version_id)
        shown = list(weeks.filter(week__lte=week.week)[:MOST_WEEKS])
        label = labels[0] if labels else week.model_version.manifest["labels"][0]
        return format_html_join("", "<p>{}</p>{}", ((each.title, each.svg) for each in drift_charts(shown, label)))

    @admin.display(description="Compared")
    def compared(self, week: DriftWeek) -> SafeString:
        return table(
            ("Figure", "Finding", "This week", "Expected", "p"),
            [
                (
                    each["what"],
                    each["label"],
                    f"{each['value']:.4f}",
                    f"{each['expected']:.4f}",
                    f"{each['p_value']:.2g}",
                )
                for each in sorted(week.figures, key=lambda each: float(each["p_value"]))
            ],
        )


@admin.register(DriftReference)
class DriftReferenceAdmin(ShowsTenants):
    list_display = ("at", "for_tenant", "model_version", "source", "films", "first_week", "last_week", "actor")
    list_filter = ("source", ("for_tenant", ScopeFilter))
    list_select_related = ("for_tenant", "model_version")
    fields = (*list_display, "reason")
    readonly_fields = fields
