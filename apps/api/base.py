"""What every view of the API does alike."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.api.openapi import ApiSchema
from apps.tenants.models import ApiScope


class OneFormat(BaseContentNegotiation):
    """Each address has one format, whatever the client says that it accepts: a refusal would help nobody."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return next((each for each in parsers), None)

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


# A docstring would become the description of every operation in the OpenAPI document.
class ApiView(APIView):
    schema = ApiSchema()
    content_negotiation_class = OneFormat

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        # Answers are the tenant's and nobody else's.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return super().finalize_response(request, response, *args, **kwargs)


class ReadView(ApiView):
    required_scope = ApiScope.READ
    http_method_names = ["get", "head", "options"]  # noqa: RUF012
