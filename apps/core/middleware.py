"""Middleware for every request: it counts requests by view, and refuses NUL characters."""

import time
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponseBase

from apps.core.metrics import HTTP_REQUESTS, HTTP_SECONDS
from apps.core.problems import problem_response

_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}


class MetricsMiddleware:
    """Counts requests by the view's name, never by path, because a path contains UIDs."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        response = self.get_response(request)
        view = request.resolver_match.view_name if request.resolver_match else "unmatched"
        method = request.method if request.method in _METHODS else "OTHER"
        HTTP_REQUESTS.labels(view, method, response.status_code).inc()
        HTTP_SECONDS.labels(view).observe(time.perf_counter() - started)
        return response


class NullCharacterMiddleware:
    """Refuses an address with a NUL: PostgreSQL stores none, and its driver fails on one with an error of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\x00" in request.path_info:
            return problem_response(HTTPStatus.NOT_FOUND, "There is no such object here.", "not-found")
        if "%00" in request.META.get("QUERY_STRING", "") or "\x00" in request.META.get("QUERY_STRING", ""):
            return problem_response(
                HTTPStatus.BAD_REQUEST, "The address has a NUL character: remove %00.", "null-character"
            )
        return self.get_response(request)
