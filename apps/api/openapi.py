"""Parts of the OpenAPI document that all views share: authentication and error responses."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from apps.core.problems import CONTENT_TYPE

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
_COMMON_ERRORS = {
    "401": "The request has no valid API key and no session of a member.",
    "403": "The API key lacks the scope that this path needs.",
    "503": "A part of the service did not answer; try again after `Retry-After` seconds.",
}
_WITH_JSON = {
    "400": "A member is missing, unknown or not valid.",
    "409": "What is there already stands against it; the detail says what.",
    "415": "The body is not `application/json`.",
}
_WITH_IMAGES = {
    "404": "There is no model version of that name.",
    "409": "The hospital's AI is stopped, or the first request with this `Idempotency-Key` is still being answered.",
    "413": "The body is too large, or has too many images.",
    "415": "The body has a type or an encoding that this path does not accept.",
    "429": "You have too many concurrent requests; try again after `Retry-After` seconds.",
}
_KEY_REUSED = "The `Idempotency-Key` came with another request before."
_BAD_PARAMETERS = "A parameter is unknown or out of range."
_NOT_FOUND = "There is no such object in this hospital, or the path is wrong."


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


class ApiSchema(AutoSchema):
    """Adds the problem documents that an operation may answer with."""

    def get_operation(self, path: str, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(path, *args, **kwargs)
        if operation is None:
            return None
        problem = ResolvedComponent(  # type: ignore[no-untyped-call]
            name="Problem", type=ResolvedComponent.SCHEMA, schema=_PROBLEM_SCHEMA, object="Problem"
        )
        self.registry.register_on_missing(problem)
        meanings = dict(_COMMON_ERRORS)
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
            meanings["400"] = _BAD_PARAMETERS
        if "requestBody" in operation:
            meanings |= _WITH_JSON if "application/json" in operation["requestBody"]["content"] else _WITH_IMAGES
        if self.method == "POST":
            meanings["422"] = _KEY_REUSED
        if "{" in path:
            meanings["404"] = _NOT_FOUND
        if "{study_instance_uid}" in path:
            meanings["410"] = "The study was withdrawn; a member of the hospital can restore it."
        for status, meaning in sorted(meanings.items()):
            content = {CONTENT_TYPE: {"schema": problem.ref}}
            operation["responses"].setdefault(status, {"description": meaning, "content": content})
        return operation
