"""Base classes of the API's views."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.api.openapi import ApiSchema
from apps.tenants.models import ApiScope


class SingleFormatNegotiation(BaseContentNegotiation):
    """Always chooses the view's one format and ignores ``Accept``, because a refusal would not help the client."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((each for each in parsers), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


# A docstring would become the description of every operation in the OpenAPI document.
class ApiView(APIView):
    schema = ApiSchema()
    content_negotiation_class = SingleFormatNegotiation

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # Answers contain data of the tenant, so no shared cache may store them.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return super().finalize_response(request, response, *args, **kwargs)


class ReadView(ApiView):
    required_scope = ApiScope.READ
    http_method_names = ["get", "head", "options"]  # noqa: RUF012
