"""Automated checks of pages against WCAG 2.2 AA."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_AUDIT = Path(__file__).with_name("audit.js").read_text()
_AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
# Without preload: axe would add a style element, which the pages' policy forbids.
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "preload": False}


def defects(page: Page) -> list[str]:
    """What our own audit finds: names, labels, sizes and contrast, and the portal's own rules."""
    found: list[str] = page.evaluate(_AUDIT)
    return found


def violations(page: Page) -> list[str]:
    """What axe-core finds: each rule with the elements that break it."""
    # Scripts that Playwright evaluates are not subject to the page's policy.
    page.evaluate(_AXE.read_text())
    found: Any = page.evaluate("rules => axe.run(document, rules)", _RULES)
    return [f"{each['id']}: {node['html'][:150]}" for each in found["violations"] for node in each["nodes"]]
