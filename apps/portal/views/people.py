"""Hospital settings, People: the pages on which administrators manage members and invitations."""

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.links import Link, send_link
from apps.accounts.selectors import keys_created_by, member, members, open_invitations
from apps.accounts.services import (
    change_role,
    invite_member,
    link_for_new_password,
    remove_member,
    withdraw_invitation,
)
from apps.audit.services import actor_of
from apps.core.errors import ChecxrayError
from apps.portal.access import MemberRequest, members_only
from apps.tenants.models import Role
from apps.tenants.services import require_role


class InviteForm(forms.Form):
    email = forms.EmailField(label=gettext_lazy("E-mail"), max_length=254)
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=Role.choices, initial=Role.RADIOLOGIST)


@require_GET
@members_only
def settings_home(request: MemberRequest) -> HttpResponse:
    require_role(request.membership, Role.ADMIN)
    return redirect("portal:people")


@require_http_methods(["GET", "POST"])
@members_only
def people(request: MemberRequest) -> HttpResponse:
    """The members and the open invitations; a POST makes an invitation."""
    require_role(request.membership, Role.ADMIN)
    form = InviteForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            invited = invite_member(**form.cleaned_data, membership=request.membership, by=actor_of(request))
        except ChecxrayError as error:
            form.add_error(None, error.detail)
        else:
            link = Link(invited=invited, tenant=request.tenant, address=_address(request, invited.token))
            return _show(request, link, "Invitation")
    context = {"members": members(), "invitations": open_invitations(), "form": form}
    return render(request, "portal/settings/people.html", context)


@require_http_methods(["GET", "POST"])
@members_only
def person(request: MemberRequest, member_id: UUID) -> HttpResponse:
    """One member with role and API keys; a POST changes the role."""
    require_role(request.membership, Role.ADMIN)
    if request.method == "POST":
        role = request.POST.get("role", "")
        changed = change_role(member_id=member_id, role=role, membership=request.membership, by=actor_of(request))
        messages.success(
            request,
            _("%(user)s has the role %(role)s now.") % {"user": changed.user, "role": changed.get_role_display()},
        )
        return redirect("portal:people")
    found = member(member_id)
    context = {"member": found, "roles": Role.choices, "keys": keys_created_by(found.user_id)}
    return render(request, "portal/settings/person.html", context)


@require_POST
@members_only
def remove(request: MemberRequest, member_id: UUID) -> HttpResponse:
    removed = remove_member(member_id=member_id, membership=request.membership, by=actor_of(request))
    messages.success(
        request, _("%(user)s is no longer a member, and is signed out of this hospital.") % {"user": removed.user}
    )
    if any(key.is_valid for key in keys_created_by(removed.user_id)):
        messages.warning(
            request,
            _("API keys that %(user)s made still work. Revoke those that are not needed.") % {"user": removed.user},
        )
        return redirect("portal:keys")
    # An administrator who removed the own membership has no access here any more.
    return redirect("portal:people" if removed.pk != request.membership.pk else "portal:hospital")


@require_POST
@members_only
def password_link(request: MemberRequest, member_id: UUID) -> HttpResponse:
    made = link_for_new_password(member_id=member_id, membership=request.membership, by=actor_of(request))
    return _show(request, Link(invited=made, tenant=request.tenant, address=_address(request, made.token)), "Password")


@require_POST
@members_only
def withdraw(request: MemberRequest, invitation_id: UUID) -> HttpResponse:
    gone = withdraw_invitation(invitation_id=invitation_id, membership=request.membership, by=actor_of(request))
    messages.success(request, _("The link for %(email)s no longer works.") % {"email": gone.email})
    return redirect("portal:people")


def _address(request: MemberRequest, token: str) -> str:
    return request.build_absolute_uri(reverse("portal:invitation", args=[token]))


def _show(request: MemberRequest, link: Link, what: str) -> HttpResponse:
    """Show the link, or that it was sent by e-mail."""
    shown = send_link(link)
    context = {"link": link, "shown": shown, "what": what}
    return render(request, "portal/settings/link.html", context)
