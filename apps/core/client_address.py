"""The client's address of a request, past the proxies that the operator names (``TRUSTED_PROXIES``)."""

import functools
import ipaddress
import logging

from django.conf import settings
from django.http import HttpRequest

logger = logging.getLogger(__name__)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(request: HttpRequest) -> str | None:
    """The address of the client: the last one in ``X-Forwarded-For`` that is not a trusted proxy.

    Any client can send that header, so it is read from the right, and only as far as trusted proxies wrote it. None
    where the connection has no address (a Unix socket).
    """
    found = _parse(request.META.get("REMOTE_ADDR", ""))
    forwarded = request.headers.get("X-Forwarded-For", "")
    if found is None or not forwarded:
        return _text(found)
    trusted = _networks(tuple(settings.TRUSTED_PROXIES))
    if not _is_in(found, trusted):
        _warn_once(str(found))
        return _text(found)
    for hop in reversed(forwarded.split(",")):
        address = _parse(hop.strip())
        if address is None:
            break
        found = address
        if not _is_in(found, trusted):
            break
    return _text(found)


def network_of(address: str | None) -> str:
    """What limits count by: an IPv4 address, or the /64 that one IPv6 subscriber has."""
    found = _parse(address or "")
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found or "")


def _parse(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        # A zone (fe80::1%eth0) means something on its own machine only, and PostgreSQL's inet does not take it.
        return found.ipv4_mapped or ipaddress.IPv6Address(int(found))
    return found


def _is_in(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks)


def _text(address: _Address | None) -> str | None:
    return None if address is None else str(address)


@functools.lru_cache(maxsize=8)
def _networks(named: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(each) for each in named)


@functools.lru_cache(maxsize=64)
def _warn_once(address: str) -> None:
    logger.warning(
        "X-Forwarded-For from %s is ignored. If this is your proxy, name it in TRUSTED_PROXIES; otherwise all clients "
        "behind it share one limit of failed sign-ins.",
        address,
    )
