"""Middleware of the portal: its language and time zone, and errors of the services as pages."""

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from apps.core.errors import ChecxrayError, UnavailableError
from apps.core.problems import headers_of, problem_response, status_of
from apps.portal.access import wants_json
from apps.reading.models import ReadingPolicy
from apps.reading.selectors import reading_policy
from apps.tenants.scope import tenant_tx

# What programs and operators use is in English, and in the server's time zone.
_ENGLISH = ("/admin/", "/api/", "/dicom-web/", "/fhir/")


class LanguageMiddleware:
    """Puts a language and the hospital's time zone in force for a page of the portal.

    The language is the one that the person chose, else the hospital's; before a hospital is entered, one that the
    browser asks for, else English.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(_ENGLISH):
            return self.get_response(request)
        policy = _policy_for(request)
        language = getattr(request.user, "language", "") or (
            policy.language if policy else translation.get_language_from_request(request)
        )
        zone = policy.time_zone if policy else settings.TIME_ZONE
        with translation.override(language), timezone.override(zone):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        return response


def _policy_for(request: HttpRequest) -> ReadingPolicy | None:
    """The policy of the hospital that the session entered."""
    membership = getattr(request, "membership", None)
    if membership is None:
        return None
    if connection.in_atomic_block:
        return reading_policy()
    # The view opens its own transaction later.
    with tenant_tx(membership.tenant_id):
        return reading_policy()


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
            exception = UnavailableError(_("The database did not answer and nothing was stored; try again."))
        if not isinstance(exception, ChecxrayError):
            return None
        status = status_of(exception)
        if wants_json(request):
            response: HttpResponse = problem_response(status, exception.detail, exception.code)
        else:
            context = {"status": int(status), "title": status.phrase, "detail": exception.detail}
            response = render(request, "portal/refused.html", context, status=status)
        response["Cache-Control"] = "private, no-store"
        for name, value in headers_of(exception).items():
            response[name] = value
        # A refused request changes nothing. The rollback comes after the rendering, which may still run queries.
        if transaction.get_connection().in_atomic_block:
            transaction.set_rollback(True)
        return response
