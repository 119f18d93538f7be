"""Outbound HTTP requests to URLs that a user entered, protected against server-side request forgery (SSRF).

Only public IP addresses are allowed, and private networks that the operator lists: ``networks`` are those of a tenant;
without them the setting WEBHOOK_NETWORKS applies, which is for the operator's own endpoints. The host name is resolved
once and the connection goes to that IP address, so DNS rebinding has no effect. Redirects are not followed and proxies
of the environment are not used.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

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


class AddressNotAllowedError(UnreachableError):
    """The address belongs to a network in which no receiver may be."""


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and the beginning of its body where that was asked for."""

    status: int
    body: bytes = b""


def check_url(url: str, networks: Sequence[str] | None = None) -> SplitResult:
    """Check a URL as far as that is possible without resolving its host name, and return its parts.

    Args:
        networks: the private networks of a tenant, in which plain http is allowed too.

    Raises:
        InvalidInputError: the detail explains what to change.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(_("This is not a valid URL.")) from error
    may_be_plain = settings.WEBHOOK_HTTP if networks is None else bool(networks)
    schemes = ("https", "http") if may_be_plain else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        beginnings = _(" or ").join(f"{each}://" for each in schemes)
        raise InvalidInputError(_("Give a complete URL that begins with %(schemes)s.") % {"schemes": beginnings})
    if not url.isascii() or any(each.isspace() or not each.isprintable() for each in url):
        raise InvalidInputError(_("Remove blanks. Write the host name and the path in ASCII (xn--…, %C3%A9)."))
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInputError(_("Remove user, password and fragment: a URL is shown, and must not contain a secret."))
    try:
        literal = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts
    refusal = _refusal(literal, networks, is_encrypted=parts.scheme == "https")
    if refusal:
        raise InvalidInputError(refusal)
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], networks: Sequence[str] | None = None) -> int:
    """Send a POST request and return the status of the answer, also of an error; its body is not read.

    Raises:
        UnreachableError: nothing was sent, or no answer came within `SECONDS` of connecting.
    """
    return exchange(url, body, headers, networks=networks).status


def exchange(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    networks: Sequence[str] | None = None,
    tls: ssl.SSLContext | None = None,
    seconds: float | None = None,
    most_bytes: int = 0,
) -> Answer:
    """Send a POST request and return the answer, also of an error.

    Args:
        networks: the private networks of a tenant that are allowed.
        tls: how to verify the receiver, and the client certificate to show.
        seconds: the longest time of the whole exchange; `SECONDS` by default.
        most_bytes: how much of the answer's body is read.

    Raises:
        UnreachableError: nothing was sent, or no answer came in time.
    """
    try:
        parts = check_url(url, networks)
    except InvalidInputError as error:
        raise UnreachableError(error.detail) from error
    assert parts.hostname is not None
    port = parts.port or _PORTS[parts.scheme]
    address = resolve_address(parts.hostname, port, networks, is_encrypted=parts.scheme == "https")
    connection = _ConnectionToResolvedAddress(parts, (address, port), tls, seconds or SECONDS)
    try:
        connection.connect()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {"Host": parts.netloc, "Connection": "close", **headers})
        response = connection.getresponse()
        return Answer(response.status, response.read(most_bytes) if most_bytes else b"")
    except (OSError, http.client.HTTPException) as error:
        if connection.timed_out:
            raise UnreachableError(f"There was no answer within {connection.seconds:g} s.") from error
        raise UnreachableError(f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        connection.close()


def resolve_address(host: str, port: int, networks: Sequence[str] | None = None, *, is_encrypted: bool = True) -> str:
    """Resolve a host name once, and return the IP address to connect to.

    Args:
        networks: the private networks of a tenant that are allowed.
        is_encrypted: without TLS, an HTTP request goes only to an allowed network. DIMSE has no such rule.

    Raises:
        UnreachableError: it cannot be resolved.
        AddressNotAllowedError: one of its addresses is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"The host name {host} cannot be resolved.") from error
    addresses = [str(each[4][0]) for each in found]
    # Check every address: the owner of the host name controls the order of the addresses.
    for each in addresses:
        refusal = _refusal(ipaddress.ip_address(each), networks, is_encrypted=is_encrypted)
        if refusal:
            raise AddressNotAllowedError(refusal)
    return addresses[0]


def describe_status(status: int) -> str:
    """Explain a status that is not a success."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    hint = "; redirects are not followed" if 300 <= status < 400 else ""
    return f"The receiver answered {status} {phrase}{hint}."


def _refusal(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Sequence[str] | None, *, is_encrypted: bool
) -> str:
    """Why a request may not go to an address; empty where it may."""
    listed = settings.WEBHOOK_NETWORKS if networks is None else networks
    if any(address in ipaddress.ip_network(each) for each in listed):
        return ""
    if not _is_public(address):
        if networks is None:
            return (
                f"{address} is not a public address. The setting WEBHOOK_NETWORKS lists the allowed private networks."
            )
        return _(
            "%(address)s is not a public address. The operator of the platform allows private networks of a hospital."
        ) % {"address": address}
    # WEBHOOK_HTTP is for the operator's endpoints: results of patients go to a public address by https alone.
    if not is_encrypted and (networks is not None or not settings.WEBHOOK_HTTP):
        return _("%(address)s is a public address, so it needs https.") % {"address": address}
    return ""


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (address.sixtofour or address.teredo):
        return False
    if any(address in network for network in _SPECIAL_PURPOSE):
        return False
    # `is_reserved` also covers IPv6 addresses that embed an IPv4 address.
    return address.is_global and not address.is_multicast and not address.is_reserved


class _ConnectionToResolvedAddress(http.client.HTTPConnection):
    """A connection to an IP address that is already resolved, with a deadline for the whole exchange."""

    def __init__(
        self, parts: SplitResult, address: tuple[str, int], tls: ssl.SSLContext | None, seconds: float
    ) -> None:
        super().__init__(address[0], address[1], timeout=seconds)
        self._name = parts.hostname if parts.scheme == "https" else None
        self._tls = tls
        self.seconds = seconds
        self.timed_out = False
        self._timer = threading.Timer(seconds, self._time_out)
        self._timer.daemon = True

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), min(SECONDS, self.seconds))
        self.sock.settimeout(self.seconds)
        # The socket timeout limits one read. A slow receiver that sends single bytes never reaches it, so this timer
        # limits the whole exchange.
        self._timer.start()
        if self._name is not None:
            tls = self._tls or ssl.create_default_context()
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
