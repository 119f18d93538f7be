"""Outbound HTTP requests to URLs that a user entered, protected against server-side request forgery (SSRF).

Only public IP addresses are allowed, and private ones that a setting lists. The host name is resolved once and the
connection goes to that IP address, so DNS rebinding has no effect. Redirects are not followed, proxies of the
environment are not used, and the body of the answer is not read.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from apps.core.errors import InvalidInputError

SECONDS = 10.0
_PORTS = {"https": 443, "http": 80}
# Special-purpose networks that `ipaddress` calls global (IANA's registries, RFC 6890): protocol assignments and the
# old 6to4 relay, AS112, site-local, documentation, and the prefix whose addresses carry an IPv4 address inside.
_SPECIAL_PURPOSE = [
    ipaddress.ip_network(each)
    for each in (
        "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24",
        "64:ff9b::/96", "fec0::/10", "3fff::/20",
    )
]  # fmt: skip


class UnreachableError(Exception):
    """The request was refused before it was sent, or got no answer; the message has the reason."""


def check_url(url: str) -> SplitResult:
    """Check a URL as far as that is possible without resolving its host name, and return its parts.

    Raises:
        InvalidInputError: the detail explains what to change.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(f"This is not a valid URL: {error}.") from error
    schemes = ("https", "http") if settings.WEBHOOK_HTTP else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise InvalidInputError(
            f"Give a complete URL that begins with {' or '.join(f'{each}://' for each in schemes)}."
        )
    if not url.isascii() or any(each.isspace() or not each.isprintable() for each in url):
        raise InvalidInputError("Remove blanks. Write the host name and the path in ASCII (xn--…, %C3%A9).")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInputError(
            "Remove user, password and fragment. Checxray signs each request, so the receiver needs no password."
        )
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts
    if not _is_allowed(literal):
        raise InvalidInputError(_refusal(str(literal)))
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a POST request and return the status of the answer, also of an error.

    Raises:
        UnreachableError: nothing was sent, or no answer came within `SECONDS` of connecting.
    """
    try:
        parts = check_url(url)
    except InvalidInputError as error:
        raise UnreachableError(error.detail) from error
    connection = _ConnectionToResolvedAddress(parts, _resolved(parts))
    try:
        connection.connect()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Host": parts.netloc, "Connection": "close", **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if connection.timed_out:
            raise UnreachableError(f"There was no answer within {SECONDS:g} s.") from error
        raise UnreachableError(f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        connection.close()


def describe_status(status: int) -> str:
    """Explain a status that is not a success."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    hint = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"The receiver answered {status} {phrase}{hint}."


def _resolved(parts: SplitResult) -> tuple[str, int]:
    assert parts.hostname is not None
    port = parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"The host name {parts.hostname} cannot be resolved.") from error
    addresses = [str(each[4][0]) for each in found]
    # Check every address: the owner of the host name controls the order of the addresses.
    for each in addresses:
        if not _is_allowed(ipaddress.ip_address(each)):
            raise UnreachableError(_refusal(each))
    return addresses[0], port


def _is_allowed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if any(address in ipaddress.ip_network(each) for each in settings.WEBHOOK_NETWORKS):
        return True
    if isinstance(address, ipaddress.IPv6Address) and (address.sixtofour or address.teredo):
        return False
    if any(address in network for network in _SPECIAL_PURPOSE):
        return False
    # `is_reserved` also covers IPv6 addresses that embed an IPv4 address.
    return address.is_global and not address.is_multicast and not address.is_reserved


def _refusal(address: str) -> str:
    return f"{address} is not a public address. The setting WEBHOOK_NETWORKS lists the allowed private networks."


class _ConnectionToResolvedAddress(http.client.HTTPConnection):
    """A connection to an IP address that is already resolved, with a deadline for the whole exchange."""

    def __init__(self, parts: SplitResult, address: tuple[str, int]) -> None:
        super().__init__(address[0], address[1], timeout=SECONDS)
        self._name = parts.hostname if parts.scheme == "https" else None
        self.timed_out = False
        self._timer = threading.Timer(SECONDS, self._time_out)
        self._timer.daemon = True

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), SECONDS)
        # The socket timeout limits one read. A slow receiver that sends single bytes never reaches it, so this timer
        # limits the whole exchange.
        self._timer.start()
        if self._name is not None:
            tls = ssl.create_default_context()
            self.sock = tls.wrap_socket(self.sock, server_hostname=self._name, do_handshake_on_connect=False)
            self.sock.do_handshake()

    def close(self) -> None:
        self._timer.cancel()
        super().close()

    def _time_out(self) -> None:
        self.timed_out = True
        try:
            # Call the plain socket's shutdown. The TLS shutdown would change the socket while another thread reads
            # from it.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            return
