"""Hospital settings, DICOMweb: its address, and the web pages that may call it from a browser."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.http import require_http_methods

from apps.accounts.services import set_allowed_origins
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import Role
from apps.tenants.origins import allowed_origins
from apps.tenants.services import require_role


class OriginsForm(forms.Form):
    origins = forms.CharField(
        label=gettext_lazy("Web origins"),
        required=False,
        max_length=5000,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=gettext_lazy(
            "One a line, such as https://viewer.example. Pages from there, for example a web viewer, may call DICOMweb "
            "with an API key of this hospital. Empty: none may."
        ),
    )


@require_http_methods(["GET", "POST"])
@members_only
def dicomweb(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    posted: Any = request.POST if request.method == "POST" else None
    form = OriginsForm(posted, initial={"origins": "\n".join(allowed_origins())})
    if request.method == "POST" and form.is_valid():
        lines = form.cleaned_data["origins"].splitlines()
        try:
            set_allowed_origins(origins=lines, membership=request.membership, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error("origins", error.detail)
        else:
            messages.success(request, gettext("Saved. It holds from the next request on."))
            return redirect("portal:dicomweb")
    context = {"form": form, "address": request.build_absolute_uri("/dicom-web")}
    return render(request, "portal/settings/dicomweb.html", context)
