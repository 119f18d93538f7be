"""The texts that readers insert into an impression: a person's own, and the hospital's."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from apps.accounts.models import User
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.portal.access import MemberRequest, members_only
from apps.reading import services
from apps.reading.models import TextBlock
from apps.reading.selectors import texts_of
from apps.tenants.models import Role
from apps.tenants.services import require_role


class TextForm(forms.ModelForm):
    class Meta:
        model = TextBlock
        fields = ("name", "text")


@require_http_methods(["GET", "POST"])
@members_only
def own_texts(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    return _list(request, request.user)


@require_http_methods(["GET", "POST"])
@members_only
def hospital_texts(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    return _list(request, None)


@require_http_methods(["GET", "POST"])
@members_only
def own_text(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, Role.RADIOLOGIST)
    return _change(request, pk, request.user)


@require_http_methods(["GET", "POST"])
@members_only
def hospital_text(request: MemberRequest, pk: UUID) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    return _change(request, pk, None)


def _list(request: MemberRequest, owner: User | None) -> HttpResponse:
    """The texts, and the form for a new one."""
    posted: Any = request.POST if request.method == "POST" else None
    form = TextForm(posted)
    if request.method == "POST" and _saved(request, form, owner):
        return redirect(_address(owner))
    return render(request, "portal/settings/texts.html", {"texts": texts_of(owner), "form": form, "is_own": owner})


def _change(request: MemberRequest, pk: UUID, owner: User | None) -> HttpResponse:
    """Change a text, or remove it."""
    block = services.find_text(pk=pk, owner=owner)
    if request.method == "POST" and "remove" in request.POST:
        services.remove_text(pk=pk, owner=owner, membership=request.membership, by=actor_of(request))
        messages.success(request, _("%(text)s is removed.") % {"text": block})
        return redirect(_address(owner))
    posted: Any = request.POST if request.method == "POST" else None
    form = TextForm(posted, initial={"name": block.name, "text": block.text})
    if request.method == "POST" and _saved(request, form, owner, pk):
        return redirect(_address(owner))
    return render(request, "portal/settings/text.html", {"block": block, "form": form, "is_own": owner})


def _saved(request: MemberRequest, form: TextForm, owner: User | None, pk: UUID | None = None) -> bool:
    if not form.is_valid():
        return False
    try:
        block = services.save_text(
            **form.cleaned_data, owner=owner, membership=request.membership, by=actor_of(request), pk=pk
        )
    except ChecxrayError as error:
        form.add_error(None, error.detail)
        return False
    messages.success(request, _("Saved: type %(text)s and press Tab to insert it.") % {"text": block})
    return True


def _address(owner: User | None) -> str:
    return "portal:hospital-texts" if owner is None else "portal:own-texts"
