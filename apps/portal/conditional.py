"""Answers to a page that asks again and again: 304 where it has what there is (RFC 9110, 15.4.5)."""

import hashlib
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

_LENGTH = 22


def fingerprint(*parts: object) -> str:
    """A short text that differs where the parts differ."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def known_state(request: HttpRequest, state: str) -> HttpResponse | None:
    """The answer where the page was built from this very state; None where it must be built anew.

    Args:
        state: a fingerprint of what the page is built from.
    """
    known = request.headers.get("If-None-Match", "")
    return _not_modified(known) if known.startswith(f'W/"{state}.') else None


def unless_same(request: HttpRequest, response: HttpResponse, state: str = "") -> HttpResponse:
    """The response with its ETag, or 304 where the page has this very content, whatever it was built from.

    The tag is weak: a compressed answer has other bytes.
    """
    content = fingerprint(response.content.decode())
    tag = f'W/"{state}.{content}"'
    if request.headers.get("If-None-Match", "").rpartition(".")[2] == f'{content}"':
        return _not_modified(tag)
    response["ETag"] = tag
    return response


def _not_modified(tag: str) -> HttpResponse:
    response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
    response["ETag"] = tag
    return response
