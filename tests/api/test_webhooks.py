"""Webhooks by REST: a key with the scope webhooks.manage adds, changes, tests and removes them, and nothing else."""

import json
import zlib
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from apps.api.models import IdempotentRequest
from apps.events.models import Delivery
from apps.results.models import ResultKind
from apps.routing.models import Destination
from apps.tenants.models import ApiScope
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.test_access import key

ADDRESS = "/api/v1/webhooks/"
HOOK = {"name": "RIS", "url": "https://ris.example/hook", "events": ["report.signed"]}


def client_of(hospital: Hospital) -> Client:
    return Client(headers=key(hospital, ApiScope.WEBHOOKS))


def sent(client: Client, method: str, address: str, body: dict[str, Any] | None = None) -> Any:
    return client.generic(method, address, "" if body is None else json.dumps(body), "application/json")


def test_a_webhook_from_its_first_day_to_its_last(north: Hospital, south: Hospital) -> None:
    client = client_of(north)
    made = sent(client, "POST", ADDRESS, HOOK)
    assert made.status_code == 201, made.json()
    one = made["Location"]
    assert made.json()["secret"].startswith("whsec_")
    assert "secret" not in client.get(one).json()
    assert [each["name"] for each in client.get(ADDRESS).json()["results"]] == ["RIS"]
    assert sent(client, "POST", ADDRESS, HOOK).status_code == 409, "a name is given once"

    changed = sent(client, "PATCH", one, {"events": ["result.ready", "report.signed"], "is_enabled": False}).json()
    assert (changed["events"], changed["is_enabled"], changed["url"]) == (
        ["report.signed", "result.ready"], False, HOOK["url"],
    )  # fmt: skip
    assert sent(client, "POST", f"{one}test/").status_code == 409, "it is switched off"
    sent(client, "PATCH", one, {"is_enabled": True})
    tested = sent(client, "POST", f"{one}test/")
    assert tested.status_code == 202
    with tenant_tx(north.tenant.pk):
        assert str(Delivery.objects.get().pk) == tested.json()["delivery"]
    assert client.get(one).json()["waiting"] == 1
    assert sent(client, "POST", f"{one}secret/").json()["secret"] != made.json()["secret"]
    assert sent(client, "POST", f"{one}repeat/").status_code == 202

    other = client_of(south)
    assert other.get(ADDRESS).json()["results"] == []
    assert {other.get(one).status_code, sent(other, "DELETE", one).status_code} == {404}
    assert sent(client, "DELETE", one).status_code == 204
    assert client.get(one).status_code == 404


def test_a_write_that_is_sent_again_with_its_key_is_made_once(north: Hospital, south: Hospital) -> None:
    def post(client: Client, address: str, body: dict[str, Any] | None = None, key: str = "3f0b") -> Any:
        data = "" if body is None else json.dumps(body)
        return client.generic("POST", address, data, "application/json", headers={"Idempotency-Key": key})

    client = client_of(north)
    first, again = (post(client, ADDRESS, HOOK) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (first.get("Idempotency-Replayed"), again["Idempotency-Replayed"]) == (None, "true")
    assert again["Location"] == first["Location"]
    with tenant_tx(north.tenant.pk):
        assert first.json()["secret"].encode() not in zlib.decompress(IdempotentRequest.objects.get().answer)
    assert post(client, ADDRESS, HOOK | {"name": "other"}).json()["code"] == "idempotency-key-reused"
    assert post(client_of(south), ADDRESS, HOOK).json()["id"] != first.json()["id"]

    one = first["Location"]
    tests = {post(client, f"{one}test/", key="t").json()["delivery"] for _ in range(2)}
    secrets = {post(client, f"{one}secret/", key="s").json()["secret"] for _ in range(2)}
    assert (len(tests), len(secrets)) == (1, 1)
    assert [post(client, f"{one}repeat/", key="r").get("Idempotency-Replayed") for _ in range(2)] == [None, "true"]
    assert secrets != {first.json()["secret"]}
    with tenant_tx(north.tenant.pk):
        assert Delivery.objects.count() == 1
    # An error is not kept, and a key that expired is free.
    assert post(client, ADDRESS, HOOK, key="e").status_code == 409
    assert post(client, ADDRESS, HOOK | {"name": "third"}, key="e").status_code == 201
    with tenant_tx(north.tenant.pk):
        IdempotentRequest.objects.update(started=timezone.now() - timedelta(hours=25))
    assert post(client, ADDRESS, HOOK | {"name": "fourth"}).status_code == 201


def test_what_is_wrong_is_named(north: Hospital) -> None:
    client = client_of(north)
    for body, named in (
        ({**HOOK, "events": ["report.singed"]}, "report.singed"),
        ({**HOOK, "event": []}, "There is no such member"),
        ({**HOOK, "url": "http://10.0.0.1/hook"}, "https"),
        ({"name": "RIS"}, "required"),
    ):
        answer = sent(client, "POST", ADDRESS, body)
        assert answer.status_code == 400, body
        assert named in answer.text, answer.text
    assert client.get(ADDRESS).json()["results"] == []


def test_a_key_manages_webhooks_only(north: Hospital) -> None:
    with tenant_tx(north.tenant.pk):
        archive = Destination.objects.create(
            kind="stow", name="Archive", url="https://pacs.example/studies", contents=[ResultKind.STRUCTURED_REPORT]
        )
    client = client_of(north)
    assert client.get(ADDRESS).json()["results"] == []
    for method in ("GET", "DELETE"):
        assert sent(client, method, f"{ADDRESS}{archive.pk}/").status_code == 404
    assert Client(headers=key(north, ApiScope.READ)).get(ADDRESS).status_code == 403
