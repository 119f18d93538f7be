"""Template variables that every page uses."""

from django.conf import settings
from django.http import HttpRequest


def product(request: HttpRequest) -> dict[str, object]:
    return {
        "intended_use_notice": settings.INTENDED_USE_NOTICE,
        "membership": getattr(request, "membership", None),
        "tenant": getattr(request, "tenant", None),
    }
