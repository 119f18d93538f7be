"""Middleware that answers health probes before any other middleware can refuse them."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.urls import resolve

PROBES = ("/healthz", "/readyz")


class ProbeMiddleware:
    """Answers ``/healthz`` and ``/readyz`` without ``ALLOWED_HOSTS``: orchestrators send an IP address as Host."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in PROBES:
            return self.get_response(request)
        request.resolver_match = match = resolve(request.path_info)
        response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
        return response
