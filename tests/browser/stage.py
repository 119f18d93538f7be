"""The stage of a study's page, as tests look at it."""

import io
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, expect

DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))"


def opened(page: Page, study: UUID) -> Page:
    """The study's page with the full-depth picture."""
    page.goto(f"/studies/{study}/")
    expect(page.locator("#stage")).to_have_class("stage is-full")
    page.evaluate(DRAWN)
    return page


def shot(stage: Locator, mode: str = "L") -> NDArray[np.float64]:
    """What the stage shows now, as greys or with ``mode`` RGB as colours."""
    stage.page.evaluate(DRAWN)
    return np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert(mode), float)
