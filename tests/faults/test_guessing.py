"""Guessing of passwords and keys: what is limited, what goes on, and what is audited."""

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from apps.accounts.hashing import hashing_limit
from apps.accounts.models import User
from apps.audit.models import AuditEvent, SecurityEvent
from apps.core import rate_limits
from apps.tenants.models import ApiClient
from apps.tenants.revocation import revoke_api_key
from apps.tenants.scope import tenant_tx
from tests.conftest import PASSWORD, Hospital

HERE, ELSEWHERE = "203.0.113.7", "198.51.100.9"
WRONG = "wrong horse battery staple"
SIGN_IN_URLS = ("/sign-in/", "/admin/login/")


@pytest.fixture
def argon2(settings: Any) -> None:
    """The product's own hasher, which tests otherwise replace by a cheap one."""
    settings.PASSWORD_HASHERS = ["apps.accounts.hashing.LimitedArgon2PasswordHasher"]
    return


def sign_in(email: str, password: str = WRONG, *, address: str = HERE, url: str = "/sign-in/", **headers: str) -> Any:
    return Client(REMOTE_ADDR=address).post(url, {"username": email, "password": password}, headers=headers or None)


def events(action: SecurityEvent.Action) -> list[SecurityEvent]:
    return list(SecurityEvent.objects.filter(action=action).order_by("at"))


def test_a_hundred_wrong_passwords(argon2: None, north: Hospital) -> None:
    north.radiologist.set_password(PASSWORD)
    north.radiologist.save()
    email = north.radiologist.email

    answers = [sign_in(email) for _ in range(100)]

    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 90
    assert 0 < int(answers[-1]["Retry-After"]) <= 900
    assert "too many failed attempts for this account from your address" in answers[-1].text
    # The right password is not even tried here, in any spelling and at any page; from elsewhere it works.
    for spelling in (email, email.upper(), f" {email} "):
        assert sign_in(spelling, PASSWORD).status_code == 429
    assert sign_in(email, PASSWORD, url="/admin/login/").status_code == 429
    assert sign_in(email, PASSWORD, address=ELSEWHERE).status_code == 302
    assert sign_in(north.technologist.email, PASSWORD).status_code == 302
    failed, throttled = events(SecurityEvent.Action.SIGN_IN_FAILED), events(SecurityEvent.Action.SIGN_IN_THROTTLED)
    assert [(event.user_id, event.address) for event in failed] == [(north.radiologist.pk, HERE)] * 10
    # A line for the 1st, 2nd, 4th … of 94, together for the first 64.
    assert [event.amount for event in throttled] == [1, 1, 2, 4, 8, 16, 32]
    assert {event.database_role for event in failed} == {"chx_app"}


def test_nothing_is_hashed_for_who_is_throttled(argon2: None, north: Hospital, settings: Any) -> None:
    settings.SIGN_IN_FAILURES_PER_ACCOUNT = 1
    sign_in(north.radiologist.email)
    with hashing_limit.enter(), hashing_limit.enter():
        began = time.monotonic()
        assert sign_in(north.radiologist.email).status_code == 429
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("url", SIGN_IN_URLS)
def test_an_account_that_does_not_exist_answers_alike(argon2: None, north: Hospital, url: str) -> None:
    def tried(email: str) -> tuple[list[Any], float]:
        answers, seconds = [], []
        for _ in range(11):
            began = time.perf_counter()
            answer = sign_in(email, url=url)
            seconds.append(time.perf_counter() - began)
            text = re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", answer.text).replace(email, "EMAIL")
            answers.append((answer.status_code, text, answer.headers.get("Retry-After") is not None))
        return answers, statistics.median(seconds[1:10])

    north.radiologist.set_password(PASSWORD)
    north.radiologist.save()
    known, known_seconds = tried(north.radiologist.email)
    unknown, unknown_seconds = tried("radiologist@north.invalid")

    assert known == unknown
    assert known[-1][0] == 429
    # Argon2 takes nearly all of it: without it one of the two would take a fifth.
    assert 0.5 < known_seconds / unknown_seconds < 2


@pytest.mark.parametrize("url", SIGN_IN_URLS)
def test_one_address_over_many_accounts(north: Hospital, settings: Any, url: str) -> None:
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 20
    answers = [sign_in(f"person{number}@north.example", url=url).status_code for number in range(25)]
    assert answers == [200] * 20 + [429] * 5
    refused = sign_in(north.radiologist.email, PASSWORD)
    assert "too many failed attempts for your address" in refused.text
    assert sign_in(north.radiologist.email, PASSWORD, address=ELSEWHERE).status_code == 302
    # An IPv6 subscriber has a whole /64 to choose from.
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 2
    six = [sign_in(f"person{n}@x.example", address=f"2001:db8::{n}", url=url).status_code for n in range(1, 5)]
    assert six == [200, 200, 429, 429]


def test_success_forgives_the_account_and_its_address(north: Hospital, settings: Any) -> None:
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 8
    for _ in range(20):
        assert sign_in(north.radiologist.email, PASSWORD).status_code == 302
    for _ in range(7):
        sign_in(north.radiologist.email)
    assert sign_in(north.radiologist.email, PASSWORD).status_code == 302
    assert sign_in(north.technologist.email).status_code == 200
    assert sign_in(north.technologist.email).status_code == 429


def test_the_console_tells_a_member_nothing(north: Hospital) -> None:
    right, wrong = (sign_in(north.admin.email, password, url="/admin/login/") for password in (PASSWORD, WRONG))
    without_token = [re.sub(r'value="[^"]{60,}"', "", answer.text) for answer in (right, wrong)]
    assert right.status_code == wrong.status_code == 200
    assert without_token[0] == without_token[1]


def test_guesses_made_in_parallel_do_not_pass_the_limit(argon2: None, north: Hospital) -> None:
    def guess(_: int) -> int:
        try:
            return sign_in(north.radiologist.email).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(guess, range(40)))

    assert set(answers) <= {200, 429, 503}
    assert answers.count(200) <= 10
    assert 429 in answers


def test_hashing_takes_a_bounded_part_of_the_process(argon2: None, north: Hospital) -> None:
    with hashing_limit.enter(), hashing_limit.enter(), ThreadPoolExecutor(8) as pool:

        def enter(number: int) -> tuple[int, float, Any]:
            began = time.monotonic()
            answer = sign_in(f"person{number}@north.example")
            connections.close_all()
            return answer.status_code, time.monotonic() - began, answer.headers.get("Retry-After")

        answers = list(pool.map(enter, range(8)))

    assert {status for status, _, _ in answers} == {503}
    assert all(retry for _, _, retry in answers)
    # Two wait for a place; the others are answered at once.
    assert sum(seconds > 2.5 for _, seconds, _ in answers) == 2
    # Nothing was compared, so nothing was guessed.
    assert sign_in(north.radiologist.email, PASSWORD).status_code == 302
    assert not SecurityEvent.objects.exists()


def test_a_forwarded_address_counts_only_behind_a_trusted_proxy(north: Hospital, settings: Any) -> None:
    settings.SIGN_IN_FAILURES_PER_ACCOUNT = 3
    email = north.radiologist.email
    forged = [sign_in(email, **{"x-forwarded-for": f"192.0.2.{n}"}).status_code for n in range(5)]
    assert forged == [200, 200, 200, 429, 429]

    settings.TRUSTED_PROXIES = ["10.0.0.0/8"]
    proxy = {"address": "10.0.0.2"}
    email = north.technologist.email
    # What the client wrote itself stands left of what the proxies wrote.
    spoofed = [
        sign_in(email, **proxy, **{"x-forwarded-for": f"192.0.2.{n}, {HERE}, 10.0.0.1"}).status_code for n in range(5)
    ]
    assert spoofed == [200, 200, 200, 429, 429]
    assert sign_in(email, PASSWORD, **proxy, **{"x-forwarded-for": ELSEWHERE}).status_code == 302
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.get(action="user.signed-in").address == ELSEWHERE
    assert {event.address for event in events(SecurityEvent.Action.SIGN_IN_FAILED)} == {HERE}
    assert sign_in(email, PASSWORD, **proxy, **{"x-forwarded-for": "nonsense"}).status_code == 302


def test_without_the_shared_store_each_process_counts(
    north: Hospital, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    rate_limits._client.cache_clear()
    try:
        assert sign_in(north.technologist.email, PASSWORD).status_code == 302
        answers = [sign_in(north.radiologist.email).status_code for _ in range(12)]
        assert answers == [200] * 10 + [429] * 2
        assert sign_in(north.radiologist.email, PASSWORD, address=ELSEWHERE).status_code == 302
    finally:
        rate_limits._client.cache_clear()
        rate_limits._local.away_until = 0


def test_a_flood_of_wrong_keys(north: Hospital, south: Hospital, settings: Any) -> None:
    settings.KEY_FAILURES_PER_ADDRESS = 20
    label = north.api_key.partition(".")[0]

    def ask(key: str, address: str = HERE) -> Any:
        return Client(REMOTE_ADDR=address).get("/api/v1/studies/", headers={"authorization": f"Bearer {key}"})

    answers = [ask(f"{label}.guess{number}") for number in range(30)]

    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 10
    assert 0 < int(answers[-1]["Retry-After"]) <= 900
    assert answers[-1].json()["code"] == "keys-throttled"
    # The PACS beside a forgotten machine goes on, and so does everybody elsewhere.
    assert ask(north.api_key).status_code == 200
    assert ask(f"{label}.guess", ELSEWHERE).status_code == 401
    ask("not a key at all", ELSEWHERE)
    with tenant_tx(north.tenant.id):
        lines = list(AuditEvent.objects.filter(action="api-key.refused").order_by("at"))
        key = ApiClient.objects.get()
        revoke_api_key(key_id=key.pk)
    assert [line.amount for line in lines] == [1, 1, 2, 4, 8, 1]
    assert {(line.address, line.outcome, line.operation) for line in lines[:5]} == {(HERE, 4, "api:studies")}
    assert [event.address for event in events(SecurityEvent.Action.KEY_REFUSED)] == [ELSEWHERE]
    with tenant_tx(south.tenant.id):
        assert not AuditEvent.objects.filter(action="api-key.refused").exists()
    # A key that was good once is named.
    assert ask(north.api_key, "192.0.2.1").status_code == 401
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.filter(action="api-key.refused", object_id=key.pk).exists()


def test_no_typed_password_is_kept(north: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(12):
        sign_in(north.radiologist.email, "Kept-Nowhere-7731")
        sign_in("Kept-Nowhere-7731", "x")
    rows = [str(row) for row in (*SecurityEvent.objects.values(), *User.objects.values())]
    assert not any("kept-nowhere" in row.lower() for row in rows)
    assert "kept-nowhere" not in caplog.text.lower()
