"""Compresses pages and JSON for clients that accept it.

BREACH guesses a secret from the lengths of compressed answers that also contain text of the attacker. Here Django masks
the CSRF token anew in every page, the session's cookie is SameSite=Lax, so that other sites cannot load pages in the
user's name, no page repeats free text of its address, and Django's middleware makes the length vary by chance. Images,
PDF and streams are left as they are: they would not become smaller.
"""

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

_COMPRESSED = ("text/", "application/json", "application/problem+json", "application/vnd.oai.openapi")


class CompressionMiddleware(GZipMiddleware):
    """Django's middleware for texts alone."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
        if response.streaming or not response.headers.get("Content-Type", "").startswith(_COMPRESSED):
            return cast(HttpResponse, response)
        return cast(HttpResponse, super().process_response(request, response))
