"""Django's error views (``handler400`` and so on): a problem document for API clients, a page for browsers."""

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views import defaults

from apps.core.problems import problem_response

_FOR_MACHINES = ("/api/", "/dicom-web/", "/fhir/", "/healthz", "/readyz", "/metrics")


def _is_for_machines(request: HttpRequest) -> bool:
    return request.path.startswith(_FOR_MACHINES)


def bad_request(request: HttpRequest, exception: Any) -> HttpResponse:
    if not _is_for_machines(request):
        return defaults.bad_request(request, exception)
    return problem_response(HTTPStatus.BAD_REQUEST, "This request cannot be understood.", "bad-request")


def permission_denied(request: HttpRequest, exception: Any) -> HttpResponse:
    if not _is_for_machines(request):
        return defaults.permission_denied(request, exception)
    return problem_response(HTTPStatus.FORBIDDEN, "This is not permitted.", "not-permitted")


def not_found(request: HttpRequest, exception: Any) -> HttpResponse:
    if not _is_for_machines(request):
        return defaults.page_not_found(request, exception)
    return problem_response(
        HTTPStatus.NOT_FOUND, "There is no such address; /api/v1/docs/ lists them.", "address-not-found"
    )


def server_error(request: HttpRequest) -> HttpResponse:
    if not _is_for_machines(request):
        return defaults.server_error(request)
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The service failed on this request, and nothing of it was stored. Tell the operator when it happened.",
        "internal-error",
    )
