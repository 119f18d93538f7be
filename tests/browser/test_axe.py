"""axe-core on every page of the portal that needs no object, and on a study's, in light and dark."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from django.urls import URLPattern, get_resolver, reverse
from playwright.sync_api import Page

from tests.browser.audit import violations
from tests.conftest import Hospital
from tests.results import read, version

__all__ = ["read", "version"]
pytestmark = pytest.mark.browser
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def portal_pages() -> list[str]:
    """The addresses of the portal's pages that need no object."""
    portal = next(each for each in get_resolver().url_patterns if getattr(each, "app_name", None) == "portal")
    names = [each.name for each in portal.url_patterns if isinstance(each, URLPattern) and not each.pattern.converters]
    return [reverse(f"portal:{name}") for name in names if name]


def test_axe_finds_nothing(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], version: Any, read: Any
) -> None:
    stored = store_film(north, size=256)
    read(stored.instance, Effusion=0.8)
    study = stored.study
    found = []
    for user, addresses in ((north.admin, portal_pages()), (north.radiologist, ["/", f"/studies/{study.pk}/"])):
        page = enter(user)
        for address in addresses:
            answer = page.request.get(address)
            if not answer.ok or "<html" not in answer.text():
                continue
            page.goto(address)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found += [f"{address}, {scheme}: {each}" for each in violations(page)]
    assert not found, "\n".join(found)
