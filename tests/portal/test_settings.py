"""Hospital settings: administrators invite, change and remove members, and manage API keys."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Invitation, User
from apps.audit.models import AuditEvent
from apps.tenants.models import ApiClient, Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import PASSWORD, Hospital

NEW_PASSWORD = "seven lamps on a quiet shore"


@pytest.fixture
def admin(north: Hospital, sign_in: Any) -> Client:
    return sign_in(north, north.admin)


def member_of(hospital: Hospital, user: User) -> Membership:
    with tenant_tx(hospital.tenant.id):
        return Membership.objects.get(user=user)


def acts(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        about_people = AuditEvent.objects.filter(action__regex="^(member|invitation|account|api-key|user)")
        return list(about_people.order_by("at").values_list("action", flat=True))


def link_in(page: Any) -> str:
    found = re.search(r"http://testserver(/invitation/[^<\s]+)", page.text)
    assert found, page.text
    return found[1]


def invite(admin: Client, email: str = "new.reader@north.example", role: str = "radiologist") -> str:
    return link_in(admin.post("/settings/people/", {"email": email, "role": role}))


def join(link: str, password: str = NEW_PASSWORD, client: Client | None = None, again: str = "") -> Any:
    form = {"full_name": "Dr. New Reader", "password": password, "again": again or password}
    return (client or Client()).post(link, form)


def test_a_person_joins_by_a_link_that_works_once(north: Hospital, admin: Client) -> None:
    link = invite(admin)
    assert "Join North Hospital" in Client().get(link).text
    browser = Client()

    joined = join(link, client=browser)

    assert joined["Location"] == "/"
    assert "Dr. New Reader" in browser.get("/").text
    person = User.objects.get(email="new.reader@north.example")
    assert person.check_password(NEW_PASSWORD)
    assert member_of(north, person).role == "radiologist"
    assert Client().get(link).status_code == 404
    assert join(link, "another long password here").status_code == 404
    assert acts(north) == ["member.invited", "member.joined", "user.signed-in"]


@pytest.mark.parametrize("end", ["expired", "withdrawn", "replaced", "closed"])
def test_a_link_ends(north: Hospital, admin: Client, end: str) -> None:
    link = invite(admin)
    with tenant_tx(north.tenant.id):
        invitation = Invitation.objects.get()
    if end == "expired":
        with tenant_tx(north.tenant.id):
            Invitation.objects.update(expires=timezone.now() - timedelta(seconds=1))
    elif end == "withdrawn":
        admin.post(f"/settings/invitations/{invitation.pk}/withdraw/")
    elif end == "replaced":
        invite(admin)
    else:
        north.tenant.is_active = False
        north.tenant.save()

    assert Client().get(link).status_code == 404
    assert join(link).status_code == 404
    assert not User.objects.filter(email=invitation.email).exists()


@pytest.mark.parametrize(
    ("password", "again", "complaint"),
    [
        ("short-one", "", "at least 12 characters"),
        ("Password2026!", "", "common password with something added"),
        ("111111111111", "", "common"),
        ("new.reader@north.example", "", "too similar"),
        (NEW_PASSWORD, "other", "The two passwords differ"),
    ],
)
def test_a_weak_password_is_refused_and_the_link_still_works(
    admin: Client, password: str, again: str, complaint: str
) -> None:
    link = invite(admin)
    assert complaint in join(link, password, again=again).text
    assert join(link).status_code == 302


def test_an_account_that_exists_is_not_taken_over(
    north: Hospital, south: Hospital, admin: Client, sign_in: Any
) -> None:
    link = invite(admin, email=south.radiologist.email)
    assert "This address has an account" in Client().get(link).text
    assert join(link).status_code == 403
    assert join(link, client=sign_in(south, south.technologist)).status_code == 403
    south.radiologist.refresh_from_db()
    assert south.radiologist.check_password(PASSWORD)

    owner = Client()
    signed_in = owner.post("/sign-in/", {"username": south.radiologist.email, "password": PASSWORD, "next": link})
    assert signed_in["Location"] == link
    assert owner.post(link)["Location"] == "/"

    assert "North Hospital" in owner.get("/").text
    assert member_of(north, south.radiologist).role == "radiologist"


def test_an_operator_who_is_invited_cannot_join(north: Hospital, admin: Client) -> None:
    operator = User.objects.create_user("op@platform.example", PASSWORD, is_staff=True)
    link = invite(admin, email=operator.email)
    browser = Client()
    browser.force_login(operator)
    assert browser.post(link).status_code == 403
    with pytest.raises(IntegrityError, match="no_operator"), tenant_tx(north.tenant.id):
        Membership.objects.create(user=operator, role="admin")


def test_a_member_cannot_be_made_an_operator(north: Hospital) -> None:
    north.radiologist.is_staff = True
    with pytest.raises(IntegrityError, match="no_operator"):
        north.radiologist.save()
    north.radiologist.is_staff = False
    north.radiologist.is_superuser = True
    with pytest.raises(IntegrityError, match="superuser_is_operator"):
        north.radiologist.save()


def test_a_role_holds_from_the_next_request(north: Hospital, admin: Client, sign_in: Any) -> None:
    technologist = sign_in(north, north.technologist)
    assert technologist.get("/settings/people/").status_code == 403
    address = f"/settings/people/{member_of(north, north.technologist).pk}/"
    assert "Technologist" in admin.get(address).text

    assert admin.post(address, {"role": "admin"}).status_code == 302
    assert technologist.get("/settings/people/").status_code == 200

    assert admin.post(address, {"role": "owner"}).status_code == 400
    assert acts(north) == ["member.role-changed"]


def test_a_removed_member_is_out_at_once_and_for_good(north: Hospital, admin: Client, sign_in: Any) -> None:
    reader = sign_in(north, north.radiologist)
    assert reader.get("/").status_code == 200

    admin.post(f"/settings/people/{member_of(north, north.radiologist).pk}/remove/")

    assert reader.get("/")["Location"] == "/hospital/"
    assert reader.get("/api/v1/studies/").status_code == 401
    assert "tenant_id" not in Session.objects.get(pk=reader.session.session_key).get_decoded()
    # Joining again is a new membership: a session of the former one stays ended.
    stolen = sign_in(north, north.technologist)
    former = stolen.session["membership_id"]
    admin.post(f"/settings/people/{former}/remove/")
    with tenant_tx(north.tenant.id):
        Membership.objects.create(user=north.technologist, role="technologist")
    assert stolen.get("/")["Location"] == "/hospital/"
    assert acts(north) == ["member.removed", "member.removed"]


def test_the_last_administrator_stays(north: Hospital, admin: Client) -> None:
    own = f"/settings/people/{member_of(north, north.admin).pk}/"
    refused = admin.post(own + "remove/")
    assert refused.status_code == 409
    assert "only administrator" in refused.text
    assert admin.post(own, {"role": "radiologist"}).status_code == 409

    admin.post(f"/settings/people/{member_of(north, north.technologist).pk}/", {"role": "admin"})
    assert admin.post(own + "remove/")["Location"] == "/hospital/"
    assert admin.get("/settings/people/").status_code == 302


def test_a_lost_password_is_chosen_anew_by_a_link(north: Hospital, admin: Client, sign_in: Any) -> None:
    reader = sign_in(north, north.radiologist)
    link = link_in(admin.post(f"/settings/people/{member_of(north, north.radiologist).pk}/password/"))
    assert "Choose a new password" in Client().get(link).text

    assert join(link)["Location"] == "/sign-in/"

    north.radiologist.refresh_from_db()
    assert north.radiologist.check_password(NEW_PASSWORD)
    assert reader.get("/")["Location"].startswith("/sign-in/")
    assert join(link).status_code == 404
    assert acts(north) == ["member.password-link", "member.password-set"]


def test_a_hospital_cannot_renew_the_password_of_another_hospitals_member(
    north: Hospital, south: Hospital, admin: Client
) -> None:
    from apps.tenants.services import add_member

    address = f"/settings/people/{member_of(north, north.radiologist).pk}/password/"
    made_before = link_in(admin.post(address))
    add_member(tenant=south.tenant, user_id=north.radiologist.pk, role="radiologist")

    assert admin.post(address).status_code == 409
    assert join(made_before).status_code == 404


def test_another_hospitals_people_and_keys_are_not_there(north: Hospital, south: Hospital, admin: Client) -> None:
    foreign = member_of(south, south.radiologist).pk
    with tenant_tx(south.tenant.id):
        key = ApiClient.objects.get()
    assert admin.get(f"/settings/people/{foreign}/").status_code == 404
    for address in (f"people/{foreign}/remove/", f"people/{foreign}/password/", f"keys/{key.pk}/revoke/"):
        assert admin.post(f"/settings/{address}").status_code == 404
    for page in ("people", "keys"):
        assert "south" not in admin.get(f"/settings/{page}/").text.lower()


@pytest.mark.parametrize("role", ["radiologist", "technologist"])
def test_only_administrators_come_in(north: Hospital, sign_in: Any, role: str) -> None:
    client = sign_in(north, getattr(north, role))
    member = member_of(north, north.admin).pk
    with tenant_tx(north.tenant.id):
        key = ApiClient.objects.get()
    assert "Hospital settings" not in client.get("/").text
    for address in ("", "people/", f"people/{member}/", "keys/"):
        assert client.get(f"/settings/{address}").status_code == 403
    for address in (
        "people/", f"people/{member}/", f"people/{member}/remove/", f"people/{member}/password/", "keys/",
        f"keys/{key.pk}/revoke/", f"invitations/{member}/withdraw/",
    ):  # fmt: skip
        form = {"email": "x@north.example", "role": "admin", "name": "x", "scopes": ["predict"]}
        assert client.post(f"/settings/{address}", form).status_code == 403
    assert acts(north) == []


def test_a_key_is_made_shown_once_used_and_revoked(north: Hospital, admin: Client) -> None:
    until = timezone.localdate() + timedelta(days=30)
    made = admin.post("/settings/keys/", {"name": "RIS", "scopes": ["studies.read"], "expires": str(until)})
    secret = made.context["secret"]
    assert secret in made.text
    assert "no-store" in made["Cache-Control"]
    page = admin.get("/settings/keys/").text
    assert secret not in page
    assert "RIS" in page
    assert str(until) in page

    bearer = {"authorization": f"Bearer {secret}"}
    assert Client().get("/api/v1/studies/", headers=bearer).status_code == 200
    assert Client().post("/dicom-web/studies", headers=bearer).status_code == 403
    with tenant_tx(north.tenant.id):
        key = ApiClient.objects.get(name="RIS")
    assert key.last_used is not None
    assert key.created_by_id == north.admin.pk

    admin.post(f"/settings/keys/{key.pk}/revoke/")
    assert Client().get("/api/v1/studies/", headers=bearer).status_code == 401
    assert "revoked" in admin.get("/settings/keys/").text
    assert acts(north)[:2] == ["api-key.created", "api-key.revoked"]


def test_a_key_ends_with_its_last_day(north: Hospital, admin: Client) -> None:
    past = timezone.localdate() - timedelta(days=1)
    assert (
        "expire in the past"
        in admin.post("/settings/keys/", {"name": "RIS", "scopes": ["predict"], "expires": str(past)}).text
    )
    assert "This field is required" in admin.post("/settings/keys/", {"name": "RIS"}).text
    with tenant_tx(north.tenant.id):
        ApiClient.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert Client().get("/api/v1/studies/", headers=north.bearer).status_code == 401


def test_keys_of_who_has_left_are_marked(north: Hospital, admin: Client, sign_in: Any) -> None:
    admin.post(f"/settings/people/{member_of(north, north.technologist).pk}/", {"role": "admin"})
    other = sign_in(north, north.technologist)
    other.post("/settings/keys/", {"name": "scanner", "scopes": ["dicomweb.store"]})
    assert "no longer here" not in admin.get("/settings/keys/").text

    removed = admin.post(f"/settings/people/{member_of(north, north.technologist).pk}/remove/")

    assert removed["Location"] == "/settings/keys/"
    page = admin.get("/settings/keys/").text
    assert "no longer here" in page
    assert "still work" in page
