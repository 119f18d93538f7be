"""Sentences that are stored, or made by ``ml``, in English: in the language in force, for pages and reports."""

from collections.abc import Mapping
from types import MappingProxyType

from django.utils.translation import get_language, gettext, gettext_noop

from apps.registry import engine

SENTENCES: Mapping[str, str] = MappingProxyType({**engine.INPUT_ERRORS, **engine.INPUT_CHECKS, **engine.IMAGE_WARNINGS})
"""The general sentence of each code; ``make messages`` collects them."""

_ZONES = (
    gettext_noop("patient's right, upper zone"),
    gettext_noop("patient's right, middle zone"),
    gettext_noop("patient's right, lower zone"),
    gettext_noop("midline, upper zone"),
    gettext_noop("midline, middle zone"),
    gettext_noop("midline, lower zone"),
    gettext_noop("patient's left, upper zone"),
    gettext_noop("patient's left, middle zone"),
    gettext_noop("patient's left, lower zone"),
    gettext_noop("outside the lungs: unreliable"),
)
"""What ``engine.zone`` answers."""


def zone_text(zone: str | None) -> str | None:
    """An answer of ``engine.zone`` in the language in force."""
    return gettext(zone) if zone else zone


def stored_text(code: str, detail: str) -> str:
    """A sentence that was stored with a code.

    A detail that has values in it, such as the size of an image, has no translation: then the general sentence of its
    code is shown.
    """
    if not detail or (get_language() or "en").startswith("en"):
        return detail
    translated = gettext(detail)
    if translated != detail or code not in SENTENCES:
        return translated
    return gettext(SENTENCES[code])
