"""An automated check of pages against WCAG 2.2 AA: names, labels, sizes and contrast."""

from pathlib import Path

from playwright.sync_api import Page

_AUDIT = Path(__file__).with_name("audit.js").read_text()


def defects(page: Page) -> list[str]:
    found: list[str] = page.evaluate(_AUDIT)
    return found
