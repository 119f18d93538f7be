"""Template variables that every page uses."""

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_noop

# The default of the setting; another notice is shown as the operator wrote it.
gettext_noop("Investigational. Not for diagnostic use.")


def intended_use_notice() -> str:
    """The notice on every page and report, in the language in force; empty where the operator cleared it."""
    return gettext(settings.INTENDED_USE_NOTICE) if settings.INTENDED_USE_NOTICE else ""


def product(request: HttpRequest) -> dict[str, object]:
    return {
        "intended_use_notice": intended_use_notice(),
        "membership": getattr(request, "membership", None),
        "tenant": getattr(request, "tenant", None),
    }
