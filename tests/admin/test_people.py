"""Operators invite people and end access; they are no members, set no password, issue no key and see no patient."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import NoReverseMatch, reverse

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.tenants.models import ApiClient, Membership, Tenant
from apps.tenants.scope import tenant_tx
from tests.conftest import PASSWORD, Hospital

NEW_PASSWORD = "seven lamps on a quiet shore"


def acts(tenant: Any) -> list[tuple[str, str]]:
    with tenant_tx(tenant.pk):
        return list(AuditEvent.objects.order_by("at").values_list("action", "operation"))


def test_a_hospital_is_made_and_its_first_administrator_invited(operator: Client) -> None:
    form = {"name": "East Clinic", "slug": "east", "ae_title": "EAST", "is_active": "on"}
    assert operator.post(reverse("admin:tenants_tenant_add"), form).status_code == 302
    tenant = Tenant.objects.get(slug="east")
    address = reverse("admin:tenants_tenant_first_admin", args=[tenant.pk])

    shown = operator.post(address, {"email": "Chief@east.example"})

    link = shown.context["secret"].removeprefix("http://testserver")
    assert "no-store" in shown["Cache-Control"]
    admin = Client()
    assert "East Clinic" in admin.get(link).text
    admin.post(link, {"full_name": "Chief", "password": NEW_PASSWORD, "again": NEW_PASSWORD})
    assert admin.get("/settings/people/").status_code == 200
    key = admin.post("/settings/keys/", {"name": "pacs", "scopes": ["studies.read"]}).context["secret"]
    assert Client().get("/api/v1/studies/", headers={"authorization": f"Bearer {key}"}).status_code == 200

    page = operator.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).text
    assert "Chief: Administrator" in page
    assert "pacs" in page
    assert key not in page
    assert ("member.invited", "") in acts(tenant)
    assert acts(tenant)[-1] == ("operator.viewed", "admin:tenants_tenant_change")
    # A hospital that has an administrator gets no other one from the operator.
    refused = operator.post(address, {"email": "second@platform.example"})
    assert "has an administrator, who invites" in refused.text
    assert "secret" not in refused.context or not refused.context["secret"]


def test_former_pages_for_keys_and_members_are_removed(operator: Client, north: Hospital) -> None:
    for name in ("tenants_tenant_api_key", "tenants_tenant_member", "auth_user_password_change"):
        with pytest.raises(NoReverseMatch):
            reverse(f"admin:{name}", args=[north.tenant.pk])
    person = reverse("admin:accounts_user_change", args=[north.radiologist.pk])
    for address in (person, f"{person}../password/", reverse("admin:accounts_user_add")):
        form = {
            "email": "op@evil.example", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "is_staff": "on",
            "is_superuser": "on", "usable_password": "true", "full_name": "x", "password": NEW_PASSWORD,
        }  # fmt: skip
        assert operator.post(address, form).status_code in (302, 403, 404)
    north.radiologist.refresh_from_db()
    assert north.radiologist.check_password(PASSWORD)
    assert north.radiologist.email == "radiologist@north.example"
    assert not north.radiologist.is_staff
    assert not User.objects.filter(email="op@evil.example").exists()


@pytest.mark.parametrize("is_superuser", [False, True])
def test_an_operator_opens_no_page_of_a_hospital(north: Hospital, store_film: Any, is_superuser: bool) -> None:
    study = store_film(north, size=256, patient_name="CANARY^JANE").study
    operator = User.objects.create_user("op@platform.example", PASSWORD, is_staff=True, is_superuser=is_superuser)
    client = Client()
    client.force_login(operator)
    session = client.session
    with tenant_tx(north.tenant.id):
        membership = Membership.objects.get(user=north.admin)
    session["tenant_id"], session["membership_id"] = str(north.tenant.id), str(membership.pk)
    session.save()
    uid = study.study_instance_uid

    for address in (
        "/", "/upload/", "/settings/people/", "/settings/keys/", f"/studies/{uid}/", f"/studies/{uid}/film.png",
        f"/studies/{uid}/report.pdf", "/api/v1/studies/", f"/api/v1/studies/{uid}/",
        f"/api/v1/studies/{uid}/report.pdf", "/operating-points/", "/trial/",
    ):  # fmt: skip
        answer = client.get(address)
        assert answer.status_code in (302, 401, 403, 404), address
        assert "CANARY" not in answer.text
    assert client.post("/hospital/", {"hospital": "north"}).status_code == 404
    assert client.post("/settings/people/", {"email": operator.email, "role": "admin"}).status_code in (302, 403)


def test_an_operator_is_invited_and_chooses_the_password(operator: Client) -> None:
    form = {"email": "Second@platform.example", "full_name": "Second"}
    shown = operator.post(reverse("admin:accounts_user_invite"), form)
    link = shown.context["secret"].removeprefix("http://testserver")
    person = User.objects.get(email="second@platform.example")
    assert person.is_staff
    assert not person.has_usable_password()
    invited = Client()
    form_page = invited.get(link, follow=True)
    address = form_page.redirect_chain[-1][0]

    weak = invited.post(address, {"new_password1": "Password2026!", "new_password2": "Password2026!"})
    assert "common password" in weak.text
    done = invited.post(address, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})

    assert done["Location"] == "/admin/"
    person.refresh_from_db()
    assert person.check_password(NEW_PASSWORD)
    assert "works no more" in Client().get(link, follow=True).text
    again = operator.post(reverse("admin:accounts_user_link", args=[person.pk]), follow=True)
    assert "manage.py changepassword" in again.text
    assert "already" in operator.post(reverse("admin:accounts_user_invite"), form).text


def test_a_disabled_account_loses_its_sessions_and_keys(operator: Client, north: Hospital, sign_in: Any) -> None:
    admin = sign_in(north, north.admin)
    admin.post("/settings/keys/", {"name": "scanner", "scopes": ["dicomweb.store"]})
    address = reverse("admin:accounts_user_access", args=[north.admin.pk])
    page = operator.get(reverse("admin:accounts_user_change", args=[north.admin.pk])).text
    assert "scanner" in page
    assert "North Hospital: Administrator" in page

    assert operator.post(address).status_code == 302
    assert admin.get("/")["Location"].startswith("/sign-in/")
    key = re.search(r'href="([^"]+/revoke/)"', page)
    assert key
    assert operator.post(key[1]).status_code == 302
    with tenant_tx(north.tenant.id):
        assert ApiClient.objects.get(name="scanner").revoked is not None

    assert operator.post(address).status_code == 302
    north.admin.refresh_from_db()
    assert north.admin.is_active
    assert admin.get("/")["Location"].startswith("/sign-in/")
    # An old copy of the row that is saved again revives no session either.
    epoch = north.admin.session_epoch
    User.objects.filter(pk=north.admin.pk).update(session_epoch=0)
    north.admin.refresh_from_db()
    assert north.admin.session_epoch == epoch == 1
    actions = [action for action, _ in acts(north.tenant)]
    assert actions.count("account.disabled") == actions.count("account.enabled") == 1
    assert "api-key.revoked" in actions
    assert LogEntry.objects.filter(change_message__startswith="Disabled").exists()


def test_an_operator_cannot_lock_themselves_out(operator: Client) -> None:
    own = User.objects.get(email="operator@platform.example")
    refused = operator.post(reverse("admin:accounts_user_access", args=[own.pk]), follow=True)
    assert "your own account" in refused.text
    own.refresh_from_db()
    assert own.is_active


@pytest.mark.parametrize("password", ["short", "Password2026!", "123456789012", "aaaaaaaaaaaaaa", "qwertyqwerty"])
def test_the_password_policy_holds_for_commands(db: None, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
    with pytest.raises(CommandError, match="password"):
        call_command("createsuperuser", interactive=False, email="root@platform.example")
    assert not User.objects.exists()
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NEW_PASSWORD)
    call_command("createsuperuser", interactive=False, email="root@platform.example", verbosity=0)
    assert User.objects.get().is_staff
