"""The pages to sign in, choose a hospital and sign out."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member
from tests.conftest import PASSWORD, Hospital


def enter(client: Client, user: Any, wanted: str = "", password: str = PASSWORD) -> Any:
    return client.post("/sign-in/", {"username": user.email, "password": password, "next": wanted})


def test_a_stranger_is_asked_to_sign_in_and_brought_back(north: Hospital) -> None:
    client = Client()
    response = client.get("/upload/")
    assert (response.status_code, response["Location"]) == (302, "/sign-in/?next=/upload/")
    assert "Investigational" in client.get(response["Location"]).text
    response = enter(client, north.radiologist, "/upload/")
    assert (response.status_code, response["Location"]) == (302, "/upload/")
    assert client.get("/upload/").status_code == 200


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "javascript:alert(1)"])
def test_nobody_is_sent_elsewhere(north: Hospital, wanted: str) -> None:
    assert enter(Client(), north.radiologist, wanted)["Location"] == "/"


def test_signing_in_is_audited_in_the_hospital(north: Hospital) -> None:
    enter(Client(), north.radiologist)
    with tenant_tx(north.tenant.id):
        event = AuditEvent.objects.get(action=AuditEvent.Action.USER_SIGNED_IN)
    assert event.user_id == north.radiologist.pk


def test_a_wrong_password_says_so_and_nothing_else(north: Hospital) -> None:
    wrong, unknown = (
        enter(Client(), north.radiologist, password="wrong"),
        Client().post("/sign-in/", {"username": "nobody@example.org", "password": "wrong"}),
    )
    assert wrong.status_code == unknown.status_code == 200
    assert "do not match an active account" in wrong.text
    assert "do not match an active account" in unknown.text


def test_a_member_of_two_hospitals_chooses_and_may_change(north: Hospital, south: Hospital) -> None:
    user = north.radiologist
    add_member(tenant=south.tenant, user_id=user.pk, role="radiologist")
    client = Client()
    response = enter(client, user, "/upload/")
    assert response["Location"] == "/hospital/?next=%2Fupload%2F"
    assert client.get("/")["Location"] == "/hospital/"
    page = client.get(response["Location"]).text
    assert "North Hospital" in page
    assert "South Hospital" in page
    assert client.post("/hospital/", {"hospital": "south", "next": "/upload/"})["Location"] == "/upload/"
    assert "South Hospital" in client.get("/").text
    client.post("/hospital/", {"hospital": "north"})
    assert "North Hospital" in client.get("/").text


def test_a_hospital_that_one_does_not_belong_to_is_not_there(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client]
) -> None:
    client = sign_in(north, north.radiologist)
    assert client.post("/hospital/", {"hospital": "south"}).status_code == 404
    assert "North Hospital" in client.get("/").text


def test_a_session_that_names_another_hospital_shows_nothing_of_it(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client]
) -> None:
    client = sign_in(south, north.radiologist)
    assert client.get("/")["Location"] == "/hospital/"


def test_a_user_without_a_hospital_learns_whom_to_ask(db: None, django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("new@example.org", PASSWORD)
    client = Client()
    assert enter(client, user)["Location"] == "/hospital/"
    assert "administrator of your hospital" in " ".join(client.get("/hospital/").text.split())


def test_an_operator_is_pointed_to_the_console(db: None, django_user_model: Any) -> None:
    user = django_user_model.objects.create_superuser("operator@example.org", PASSWORD)
    client = Client()
    assert enter(client, user)["Location"] == "/admin/"
    assert 'href="/admin/"' in client.get("/hospital/").text


def test_signing_out_ends_the_session(north: Hospital, sign_in: Callable[..., Client]) -> None:
    client = sign_in(north, north.radiologist)
    response = client.post("/sign-out/")
    assert response["Location"] == "/sign-in/"
    assert response["Clear-Site-Data"] == '"cache"'
    assert client.get("/")["Location"].startswith("/sign-in/")


def test_another_person_at_the_same_browser_finds_nothing_of_the_first(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client]
) -> None:
    client = sign_in(north, north.radiologist)
    client.post("/search/", {"text": "Smith"})
    enter(client, south.radiologist)
    page = client.get("/").text
    assert "South Hospital" in page
    assert "Smith" not in page


def test_a_member_whose_hospital_was_closed(north: Hospital, sign_in: Callable[..., Client]) -> None:
    client = sign_in(north, north.radiologist)
    north.tenant.is_active = False
    north.tenant.save()
    assert client.get("/")["Location"] == "/hospital/"
    assert "belong to no hospital" in client.get("/hospital/").text
