"""Middleware that shows errors of the services as pages of the portal."""

from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from apps.core.errors import ChecxrayError, UnavailableError
from apps.core.problems import RETRY_AFTER_SECONDS, problem_response, status_of
from apps.portal.access import wants_json


class PortalErrorMiddleware:
    """Answers a ChecxrayError of a portal view with an error page, or with a problem document for a script."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.app_name != "portal":
            return None
        if isinstance(exception, DatabaseError | InterfaceError):
            exception = UnavailableError("The database did not answer and nothing was stored; try again.")
        if not isinstance(exception, ChecxrayError):
            return None
        status = status_of(exception)
        if wants_json(request):
            response: HttpResponse = problem_response(status, exception.detail, exception.code)
        else:
            context = {"status": int(status), "title": status.phrase, "detail": exception.detail}
            response = render(request, "portal/refused.html", context, status=status)
        response["Cache-Control"] = "private, no-store"
        if status in RETRY_AFTER_SECONDS:
            response["Retry-After"] = RETRY_AFTER_SECONDS[status]
        # A refused request changes nothing. The rollback comes after the rendering, which may still run queries.
        if transaction.get_connection().in_atomic_block:
            transaction.set_rollback(True)
        return response
