"""Counts requests by the view's name: never by path, which carries UIDs."""

import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from apps.core.metrics import HTTP_REQUESTS, HTTP_SECONDS

_METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}


class MetricsMiddleware:
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
