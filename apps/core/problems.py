"""Errors as RFC 9457 problem documents: the only module that maps exceptions to HTTP status codes."""

from http import HTTPStatus
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction
from django.http import Http404, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from apps.core import errors

CONTENT_TYPE = "application/problem+json"
STATUS: dict[type[errors.ChecxrayError], HTTPStatus] = {
    errors.InvalidInputError: HTTPStatus.BAD_REQUEST,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.WithdrawnError: HTTPStatus.GONE,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.UnprocessableError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotPermittedError: HTTPStatus.FORBIDDEN,
    errors.RefusedByRuleError: HTTPStatus.FORBIDDEN,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.NotAcceptableError: HTTPStatus.NOT_ACCEPTABLE,
    errors.OutOfSpaceError: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
}
RETRY_AFTER_SECONDS: dict[int, str] = {
    HTTPStatus.SERVICE_UNAVAILABLE: "15",
    HTTPStatus.INSUFFICIENT_STORAGE: "15",
    HTTPStatus.TOO_MANY_REQUESTS: "2",
}


def status_of(error: errors.ChecxrayError) -> HTTPStatus:
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)


def headers_of(error: errors.ChecxrayError) -> dict[str, str]:
    """``Retry-After``, where trying again makes sense."""
    after = RETRY_AFTER_SECONDS.get(status_of(error)) if error.retry_after is None else str(error.retry_after)
    return {"Retry-After": after} if after is not None else {}


def problem(status: int, detail: str, code: str, **extra: Any) -> dict[str, Any]:
    """The members of RFC 9457, with ``code`` as an extension."""
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail,
            "code": code, **extra}  # fmt: skip


def problem_response(status: int, detail: str, code: str, *, retry_after: int | None = None) -> JsonResponse:
    response = JsonResponse(problem(status, detail, code), status=status, content_type=CONTENT_TYPE)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    elif status in RETRY_AFTER_SECONDS:
        response["Retry-After"] = RETRY_AFTER_SECONDS[status]
    return response


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """The exception handler of REST framework. A refused request changes nothing: its transaction is rolled back."""
    headers: dict[str, str] = {}
    if isinstance(exc, errors.ChecxrayError):
        body = problem(status_of(exc), exc.detail, exc.code)
        headers = headers_of(exc)
    elif isinstance(exc, DatabaseError | InterfaceError):
        body = problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database did not answer; try again.", "unavailable")
    else:
        handled = drf_exception_handler(exc, context)
        if handled is None:
            return None
        body, headers = _from_drf(exc, handled)
    if body["status"] in RETRY_AFTER_SECONDS:
        headers.setdefault("Retry-After", RETRY_AFTER_SECONDS[body["status"]])
    if transaction.get_connection().in_atomic_block:
        transaction.set_rollback(True)
    response = Response(body, status=body["status"], headers=headers)
    response.content_type = CONTENT_TYPE
    return response


def _from_drf(exc: Exception, handled: Response) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {name: handled[name] for name in ("WWW-Authenticate", "Retry-After") if handled.has_header(name)}
    if isinstance(exc, Http404):
        return problem(HTTPStatus.NOT_FOUND, "There is no such object here.", "not-found"), headers
    if isinstance(exc, exceptions.ValidationError):
        return problem(handled.status_code, _first_errors(exc.detail), "invalid-input", errors=exc.detail), headers
    if isinstance(exc, exceptions.APIException):
        code = str(exc.get_codes()).replace("_", "-")
        return problem(handled.status_code, str(exc.detail), code), headers
    return problem(handled.status_code, HTTPStatus(handled.status_code).phrase, "error"), headers


def _first_errors(fields: Any) -> str:
    """The first error of each field, in one line."""
    if not isinstance(fields, dict):
        return "Some fields are not valid."
    firsts = ((name, found[0] if isinstance(found, list) and found else found) for name, found in fields.items())
    texts = [f"{name}: {first}" for name, first in firsts if isinstance(first, str)]
    return " ".join(texts) or "Some fields are not valid."
