"""A real web server and a real browser. A page that logs an error or violates its content policy fails its test."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from playwright.sync_api import Browser, Page, expect, sync_playwright

from apps.audit.services import Actor
from apps.deployment.points import PointChoice
from apps.deployment.services import set_points
from config.processes import command
from tests.conftest import PASSWORD, PROJECT_ROOT, Hospital

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS_TO_START = 60
SECONDS_TO_REST = 20
# As long as a page waits for an element: a busy machine takes more than the five seconds of Playwright.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def site(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of gunicorn serving this very code on the test's own servers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("web"),
            cwd=PROJECT_ROOT,
            env=os.environ | {"BIND": f"127.0.0.1:{port}", "WEB_WORKERS": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/sign-in/", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_it_answers(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60):
                return
        except (urllib.error.URLError, TimeoutError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@contextmanager
def launched(arguments: Sequence[str] = ()) -> Iterator[Browser]:
    """Chromium, started with these arguments."""
    if CHROMIUM is None:
        pytest.skip("Chromium is absent: install it (apt-get install -y chromium).")
    # Playwright's loop lives in this thread, and Django takes any loop for asynchronous code.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
            yield browser
            # Django opens other connections while a loop is there. They are closed here: a later test may end every
            # connection of the database, and the next module with a browser would find these broken.
            connections.close_all()
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        if before is not None:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, site: str, db: None) -> Iterator[Callable[..., Page]]:
    """Open a fresh browser window. What it logs as an error fails the test, but for the statuses that it expects.

    ``expect_lost``: requests without an answer are expected too, since the test breaks the connection.
    """
    complaints: list[str] = []
    contexts = []

    def opened(expect_statuses: tuple[int, ...] = (), expect_lost: bool = False, **options: Any) -> Page:
        context = browser.new_context(base_url=site, **{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def hear(message: Any) -> None:
            expected = any(f"status of {status}" in message.text for status in expect_statuses)
            expected = expected or (expect_lost and "net::ERR_" in message.text)
            if message.type in ("error", "warning") and not expected:
                complaints.append(f"{message.location.get('url')}: {message.text}")

        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        return page

    yield opened
    for context in contexts:
        context.close()
    _wait_until_the_server_rests()
    assert complaints == []


def _wait_until_the_server_rests() -> None:
    """A closed window leaves requests behind; emptying the tables under them would be a deadlock."""
    deadline = time.monotonic() + SECONDS_TO_REST
    quiet = 0
    while quiet < 3:
        with connection.cursor() as cursor:
            cursor.execute(
                "select count(*) from pg_stat_activity where usename = current_user and datname = current_database()"
                " and pid <> pg_backend_pid() and xact_start is not null"
            )
            quiet = 0 if cursor.fetchone()[0] else quiet + 1
        assert time.monotonic() < deadline, "the server is still busy"
        time.sleep(0.1)


@pytest.fixture
def enter(open_page: Callable[..., Page]) -> Callable[..., Page]:
    """A window in which a person has signed in."""

    def entered(user: Any, **options: Any) -> Page:
        page = open_page(**options)
        page.goto("/sign-in/")
        page.get_by_label("E-mail").fill(user.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("navigation", name="Main").wait_for()
        # A key that is pressed before the page's scripts have run is lost; they run before "load".
        page.wait_for_load_state("load")
        return page

    return entered


@pytest.fixture
def flagging(north: Hospital, starter: Any) -> None:
    """Low operating points at one hospital: the shipped version flags no synthetic film at its own."""
    low = PointChoice("manual", value=0.01, reason="The shipped version flags hardly any synthetic film.")
    choices = dict.fromkeys(("Effusion", "Infiltration"), low)
    set_points(tenant=north.tenant, version=starter, choices=choices, recent={}, by=Actor(name="test"))
