"""Console page of offers: versions that hospitals may name before they are in service there."""

from typing import Any

from django.contrib import admin
from django.db.models import ForeignKey
from django.forms import ModelChoiceField, ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from apps.audit.services import actor_of
from apps.core.html_tables import table
from apps.deployment.models import Offer
from apps.deployment.selectors import version_state, with_state
from apps.deployment.services import offer, withdraw_offer
from apps.registry.models import ModelVersion
from apps.tenants.models import PLATFORM
from apps.tenants.operator_admin import OperatorAdmin

MOST_VERSIONS = 20


@admin.register(Offer)
class OfferAdmin(OperatorAdmin):
    """An offer puts nothing into service, so it can be deleted; the console's log keeps both actions."""

    is_writable = True
    list_display = ("__str__", "actor", "at")
    list_select_related = ("model_version", "for_tenant")
    fields = ("model_version", "for_tenant")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_add_permission(request)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["offerable"] = _offerable()
        return super().render_change_form(request, context, *args, **kwargs)

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest, **kwargs: Any
    ) -> "ModelChoiceField[Any] | None":
        if db_field.name == "model_version":
            kwargs["queryset"] = ModelVersion.objects.filter(retired=None)
        else:
            kwargs["empty_label"] = PLATFORM.capitalize()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Offer, form: ModelForm, change: bool) -> None:
        obj.pk = offer(version=obj.model_version, tenant=obj.for_tenant, by=actor_of(request)).pk

    def delete_model(self, request: HttpRequest, obj: Offer) -> None:
        withdraw_offer(version=obj.model_version, tenant=obj.for_tenant)


def _offerable() -> SafeString | str:
    """The newest versions that can be offered: their state, and who may name them already."""
    versions = with_state(ModelVersion.objects.filter(retired=None)).order_by("-registered")[:MOST_VERSIONS]
    rows = []
    for version in versions:
        offers = Offer.objects.filter(model_version=version).select_related("for_tenant")
        rows.append((version, version_state(version), ", ".join(str(each.for_tenant or PLATFORM) for each in offers)))
    return table(("Version", "State", "Offered to"), rows) if rows else "There is no version yet."
