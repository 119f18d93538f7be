"""The web origins (RFC 6454) whose pages may call DICOMweb with a tenant's API key from a browser."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from django.utils.translation import gettext as _

from apps.core.errors import InvalidInputError
from apps.tenants.models import AllowedOrigin
from apps.tenants.scope import tenant_tx

MOST_ORIGINS: Final = 20
_LONGEST: Final = 200
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


def allowed_origins() -> list[str]:
    """The origins of the tenant in force."""
    return list(AllowedOrigin.objects.order_by("origin").values_list("origin", flat=True))


def allows_origin(*, tenant_id: UUID, origin: str) -> bool:
    """Whether a tenant listed an origin; outside of its transaction."""
    with tenant_tx(tenant_id):
        return AllowedOrigin.objects.filter(origin=origin).exists()


def is_listed_origin(origin: str) -> bool:
    """Whether any tenant listed an origin: a browser asks before it sends a credential, so the tenant is not known."""
    return AllowedOrigin.objects.using("auth").filter(origin=origin).exists()


def clean_origins(lines: Iterable[str]) -> list[str]:
    """Origins as a browser writes them: scheme, host, and the port where it is not the scheme's own.

    Raises:
        InvalidInputError: one is no origin, or there are too many.
    """
    found = sorted({_clean(line.strip()) for line in lines if line.strip()})
    if len(found) > MOST_ORIGINS:
        raise InvalidInputError(_("List %(most)d origins at most.") % {"most": MOST_ORIGINS}, "too-many-origins")
    return found


def _clean(text: str) -> str:
    try:
        parts = urlsplit(text.lower())
        host, port = parts.netloc.rpartition("@")[2], parts.port
    except ValueError:
        raise _invalid(text) from None
    name = host.removesuffix(f":{port}") if port is not None else host
    is_bare = parts.path in ("", "/") and not parts.query and not parts.fragment and host == parts.netloc
    if len(text) > _LONGEST or parts.scheme not in ("http", "https") or not is_bare or not _HOST.fullmatch(name):
        raise _invalid(text)
    if parts.scheme == "http" and not _is_local(name):
        raise InvalidInputError(
            _(
                "%(origin)s: only https is allowed, because anybody on the way could change a page without it. "
                "http is allowed for localhost and private addresses."
            )
            % {"origin": text},
            "origin-invalid",
        )
    own_port = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{name}" + ("" if port in (None, own_port) else f":{port}")


def _is_local(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_private
    except ValueError:
        return False


def _invalid(text: str) -> InvalidInputError:
    return InvalidInputError(
        _(
            "%(origin)s is no origin: write it as https://viewer.example or https://viewer.example:8443, "
            "without a path and without wildcards."
        )
        % {"origin": text[:_LONGEST]},
        "origin-invalid",
    )
