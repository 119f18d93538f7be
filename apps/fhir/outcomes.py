"""Errors and remarks as OperationOutcome (https://hl7.org/fhir/R4/operationoutcome.html)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from rest_framework.response import Response

from apps.core.problems import exception_handler

FHIR_JSON: Final = "application/fhir+json"
# The codes of IssueType (https://hl7.org/fhir/R4/valueset-issue-type.html).
ISSUE_TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "invalid",
    HTTPStatus.UNAUTHORIZED: "login",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED: "not-supported",
    HTTPStatus.NOT_ACCEPTABLE: "not-supported",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.GONE: "deleted",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not-supported",
    HTTPStatus.TOO_MANY_REQUESTS: "throttled",
    HTTPStatus.SERVICE_UNAVAILABLE: "transient",
}


def operation_outcome(status: int, detail: str, code: str) -> dict[str, Any]:
    """An error; ``code`` is the stable code that problem documents have."""
    issue = {
        "severity": "error",
        "code": ISSUE_TYPES.get(status, "processing"),
        "details": {"text": detail},
        "diagnostics": code,
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def ignored_outcome(names: Sequence[str]) -> dict[str, Any]:
    """The remark in a Bundle that parameters of the search were not used."""
    issue = {
        "severity": "warning",
        "code": "not-supported",
        "details": {"text": f"Not known here and ignored: {', '.join(names)}."},
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def fhir_exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """As of the whole product, with an OperationOutcome instead of a problem document."""
    response = exception_handler(exc, context)
    if response is not None:
        problem = response.data
        response.data = operation_outcome(response.status_code, problem["detail"], problem["code"])
        response.content_type = FHIR_JSON
    return response
