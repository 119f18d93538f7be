"""Outbound requests never go to private addresses, unless a setting lists them."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.core import outbound
from apps.core.errors import InvalidInputError
from apps.core.outbound import UnreachableError, check_url, exchange, post
from tests.core.receiving import Receiver, receiver

PRIVATE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",  # noqa: S104
    "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "[::127.0.0.1]", "[ff02::1]",
    "192.0.0.8", "192.88.99.1", "192.175.48.1", "[fec0::1]", "[3fff::1]",
)  # fmt: skip


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


@pytest.fixture
def loopback(settings: Any) -> None:
    settings.WEBHOOK_HTTP = True
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let names lead to these addresses, one list for each question; the names that were asked for."""

    def resolved(*answers: list[str]) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        genuine = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> list[Any]:
            if host[0].isdigit():
                return genuine(host, port, *rest, **more)
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in left.pop(0)]

        monkeypatch.setattr(outbound.socket, "getaddrinfo", getaddrinfo)
        return asked

    return resolved


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a public address"):
        check_url(f"https://{host}/")


@pytest.mark.parametrize("host", [each for each in PRIVATE if not each.startswith("[")])
def test_names_that_lead_to_private_addresses_are_refused(host: str, resolve: Any) -> None:
    resolve([host])
    with pytest.raises(UnreachableError, match=rf"{host} is not a public address"):
        post("https://hooks.example/", b"", {})


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_other_spellings_of_the_loopback_are_refused(host: str) -> None:
    with pytest.raises(UnreachableError, match=r"is not a public address|cannot be resolved"):
        post(f"https://{host}/", b"", {})


def test_one_private_address_among_public_ones_is_enough(resolve: Any) -> None:
    resolve(["93.184.215.14", "127.0.0.1"])
    with pytest.raises(UnreachableError, match=r"127.0.0.1 is not a public address"):
        post("https://hooks.example/", b"", {})


def test_the_name_is_resolved_once(there: Receiver, loopback: None, resolve: Any) -> None:
    """A second answer, as DNS rebinding would give it, is never asked for."""
    asked = resolve(["127.0.0.1"])
    assert post(f"http://hooks.example:{there.port}/", b"{}", {}) == 200
    assert asked == ["hooks.example"]
    assert there.got[0][0]["host"] == f"hooks.example:{there.port}"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.org/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https:///x", "https://"),
        ("https://user:secret@example.org/", "Remove user"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org:99999/", "not a valid URL"),
        ("https://[::1", "not a valid URL"),
        ("https://example.org/a b", "blanks"),
        ("https://exämple.org/", "ASCII"),
        ("https://example.org/\r\nX-Evil: 1", "https|blanks"),
    ],
)
def test_a_wrong_url_is_explained(url: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        check_url(url)


def test_a_redirect_is_an_answer_and_nothing_more(there: Receiver, loopback: None) -> None:
    there.answers = [302]
    assert post(there.url, b"{}", {}) == 302
    assert len(there.got) == 1
    assert "redirects are not followed" in outbound.describe_status(302)


def test_whoever_drips_is_left(there: Receiver, loopback: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "SECONDS", 0.5)
    there.slowly = True
    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"no answer within 0.5 s"):
        post(there.url, b"{}", {})
    assert time.monotonic() - started < 3


def test_nobody_there_and_no_tls_are_said(there: Receiver, loopback: None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(UnreachableError, match="ConnectionRefusedError"):
        post(f"http://127.0.0.1:{port}/", b"{}", {})
    with pytest.raises(UnreachableError, match="SSL"):
        post(there.url.replace("http:", "https:"), b"{}", {})
    assert issubclass(ssl.SSLError, OSError)


def test_proxies_of_the_environment_are_not_asked(
    there: Receiver, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert post(there.url, b"{}", {}) == 200


def test_the_networks_of_a_tenant_count_alone(there: Receiver, loopback: None, settings: Any) -> None:
    """The operator's own networks are not a hospital's; in those of a hospital, http is allowed."""
    assert settings.WEBHOOK_HTTP
    with pytest.raises(InvalidInputError, match="The operator of the platform allows private networks"):
        check_url(there.url.replace("http:", "https:"), [])
    with pytest.raises(InvalidInputError, match="begins with https"):
        check_url("http://pacs.example/", [])
    with pytest.raises(UnreachableError, match="not a public address"):
        exchange(there.url, b"{}", {}, networks=["10.0.0.0/8"])
    with pytest.raises(InvalidInputError, match="needs https"):
        check_url("http://93.184.215.14/", ["10.0.0.0/8"])
    assert exchange(there.url, b"{}", {}, networks=["10.0.0.0/8", "127.0.0.0/8"]).status == 200
