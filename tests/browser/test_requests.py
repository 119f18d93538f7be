"""What the scripts do when the server refuses a request, in a real browser and against the real server."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Hospital

pytestmark = pytest.mark.browser


def choose(page: Page, file: Path) -> None:
    page.locator("#file").set_input_files(file)


def wait(page: Page, file: Path) -> None:
    """The worklist asks the server by itself."""


@pytest.mark.parametrize(("address", "act"), [("/", wait), ("/quick-check/", choose)])
def test_an_ended_session_leads_to_the_sign_in(
    north: Hospital, starter: Any, enter: Callable[..., Page], make_film: Callable[..., Path], address: str,
    act: Callable[[Page, Path], None],
) -> None:  # fmt: skip
    page, film = enter(north.radiologist, expect_statuses=(401,)), make_film(seed=3)
    page.goto(address)
    page.context.clear_cookies()
    act(page, film)
    expect(page).to_have_url(re.compile(r"/sign-in/\?next="), timeout=15_000)


def test_a_page_that_is_out_of_date_says_so(
    north: Hospital, starter: Any, enter: Callable[..., Page], make_film: Callable[..., Path]
) -> None:
    page, film = enter(north.radiologist, expect_statuses=(403,)), make_film(seed=3)
    page.goto("/quick-check/")
    page.locator("[name=csrfmiddlewaretoken]").evaluate_all("fields => fields.forEach(f => { f.value = 'old'; })")
    choose(page, film)
    expect(page.locator("#problem-text")).to_contain_text("This page is out of date: reload it and try again.")
