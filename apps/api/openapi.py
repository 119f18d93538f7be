"""What the OpenAPI document says beside the views: who may ask, and the one form of every error."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension

API_PREFIX = "/api/v1/"

_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem document.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened and what to do."},
        "code": {"type": "string", "description": "Stable name of the error, in kebab-case."},
        "errors": {"type": "object", "description": "Messages by parameter.", "additionalProperties": True},
    },
}
_ALWAYS = {
    "401": "No valid API key and no signed-in member.",
    "403": "The API key lacks the scope that this address needs.",
    "503": "A part of the service did not answer; try again after `Retry-After` seconds.",
}
_BAD_PARAMETERS = "A parameter is unknown or out of range."
_NOT_FOUND = "There is no such object in this hospital, or its address is wrong."


class TenantAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "apps.tenants.authentication.TenantAuthentication"
    name = ["apiKey", "session"]  # noqa: RUF012

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key of the hospital."},
            {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
                "description": "A member of the hospital who has signed in to the portal.",
            },
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]


def only_api(endpoints: list[tuple[Any, ...]], **_: Any) -> list[tuple[Any, ...]]:
    """Preprocessing hook: DICOMweb describes itself by its standard, and the portal is for people."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(API_PREFIX)]


def document_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Postprocessing hook: every operation may answer with a problem document."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    for path, operations in result.get("paths", {}).items():
        for operation in operations.values():
            problems = dict(_ALWAYS)
            if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
                problems["400"] = _BAD_PARAMETERS
            if "{" in path:
                problems["404"] = _NOT_FOUND
            for status, meaning in sorted(problems.items()):
                operation["responses"].setdefault(status, _problem_response(meaning))
    return result


def _problem_response(meaning: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": meaning, "content": {"application/problem+json": {"schema": schema}}}
