"""Hospital settings, API keys: the pages on which administrators create and revoke keys."""

from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.selectors import keys
from apps.accounts.services import create_key, revoke_key
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import ApiScope, Role
from apps.tenants.services import require_role

_LASTS = timedelta(days=365)


class KeyForm(forms.Form):
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        help_text=gettext_lazy("The system that will use it, such as its AE title."),
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("It may"),
        choices=ApiScope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[ApiScope.STORE, ApiScope.READ],
    )
    expires = forms.DateField(
        label=gettext_lazy("Until the end of"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("Empty: until it is revoked."),
    )

    def clean_expires(self) -> datetime | None:
        day = self.cleaned_data["expires"]
        return None if day is None else timezone.make_aware(datetime.combine(day, time.max))


@require_http_methods(["GET", "POST"])
@members_only
def key_list(request: MemberRequest) -> HttpResponse:
    """The keys, and the form for a new key; its text is shown once."""
    require_role(request.membership, Role.ADMIN)
    posted: Any = request.POST if request.method == "POST" else None
    form = KeyForm(posted, initial={"expires": timezone.localdate() + _LASTS})
    secret = ""
    if request.method == "POST" and form.is_valid():
        try:
            secret = create_key(**form.cleaned_data, membership=request.membership, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
    if secret:
        return render(request, "portal/settings/key.html", {"secret": secret, "name": form.cleaned_data["name"]})
    return render(request, "portal/settings/keys.html", {"keys": keys(), "form": form})


@require_POST
@members_only
def revoke(request: MemberRequest, key_id: UUID) -> HttpResponse:
    key = revoke_key(key_id=key_id, membership=request.membership, by=actor_of(request))
    messages.success(request, _("The key %(name)s is refused from now on.") % {"name": key.name})
    return redirect("portal:keys")
