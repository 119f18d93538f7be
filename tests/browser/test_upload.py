"""The upload page in a real browser: what a technologist sends arrives over a network that breaks, once and whole."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.browser.audit import defects
from tests.browser.test_portal import archive, picture
from tests.conftest import PASSWORD, Hospital

pytestmark = pytest.mark.browser

DROP_FILES = """async count => {
    const dataTransfer = new DataTransfer();
    for (let number = 0; number < count; number += 1) dataTransfer.items.add(new File(["x"], `${number}.png`));
    const before = performance.now();
    document.querySelector("#drop").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    while (document.querySelectorAll("#queue > li").length < count) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - before;
}"""


def send(page: Page) -> None:
    page.get_by_role("button", name="Send", exact=True).click()


def stored(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.count()


def test_films_arrive_over_a_network_that_breaks(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Path], tmp_path: Path
) -> None:
    page = enter(north.technologist, expect_lost=True, expect_statuses=(401, 403))
    page.goto("/upload/")
    film = make_film(seed=3, size=2000, patient_name="DOE^Jane")
    assert film.stat().st_size > 7_000_000
    page.locator("#files").set_input_files(
        [film, picture(tmp_path / "scan.png"), archive(tmp_path / "cd.zip", make_film(seed=4))]
    )
    send(page)
    expect(page.get_by_text("Pictures without patient data: 1.")).to_be_visible()
    assert stored(north) == 0
    _name_the_patient(page)
    lost = _break_some_pieces(page)
    send(page)
    expect(page.locator("#queue > [data-state=stored]")).to_have_count(2, timeout=30_000)
    expect(page.locator("#totals")).to_contain_text("stored 2, already stored 0, refused 1, failed 0")
    page.get_by_text("Files in this ZIP: 2").click()
    expect(page.locator(".members [data-outcome=refused]")).to_contain_text("readme.txt")
    assert lost, "the network broke"
    assert stored(north) == 3
    expect(page.locator("#sent-today")).to_contain_text("DOE, Jane", timeout=15_000)
    page.unroute_all()

    _after_a_reload(page, make_film(seed=5, size=2000))
    assert stored(north) == 4
    _after_the_session_ended(page, north, make_film(seed=6))
    assert stored(north) == 5


def _name_the_patient(page: Page) -> None:
    page.get_by_role("button", name="Use for these pictures").click()
    expect(page.get_by_text("Enter patient ID and name, or say")).to_be_visible()
    page.get_by_label("Patient ID").fill("A-7")
    page.get_by_label("Patient name").fill("ROE^Richard")
    page.get_by_label("This is a frontal chest radiograph").check()
    page.get_by_role("button", name="Use for these pictures").click()
    expect(page.locator("#queue")).to_contain_text("ROE^Richard · A-7")


def _break_some_pieces(page: Page) -> list[str]:
    pieces: list[str] = []
    lost: list[str] = []

    def broken(route: Route) -> None:
        if route.request.method == "PATCH":
            pieces.append(route.request.url)
            if len(pieces) in (1, 4, 6):
                lost.append(route.request.url)
                route.abort("connectionreset")
                return
        route.continue_()

    page.route("**/upload/parts/*/", broken)
    return lost


def _after_a_reload(page: Page, film: Path) -> None:
    """Offline in the middle of a film, then the page is reloaded: the same file continues."""
    offsets: list[int] = []

    def first_piece_only(route: Route) -> None:
        offset = int(route.request.headers.get("upload-offset", "0"))
        if offset:
            page.context.set_offline(True)
            route.abort("internetdisconnected")
        else:
            route.continue_()

    page.reload()
    page.route("**/upload/parts/*/", first_piece_only)
    page.locator("#files").set_input_files(film)
    send(page)
    expect(page.get_by_text("You are offline.")).to_be_visible()
    page.unroute_all()
    page.context.set_offline(False)
    page.once("dialog", lambda dialog: dialog.accept())
    page.route("**/upload/parts/*/", lambda route: route.abort("connectionreset"))
    page.reload()
    page.unroute_all()
    expect(page.get_by_text("1 upload was not finished")).to_be_visible()
    page.on(
        "request",
        lambda request: offsets.append(int(request.headers["upload-offset"])) if request.method == "PATCH" else None,
    )
    page.locator("#files").set_input_files(film)
    send(page)
    expect(page.locator("[data-state=stored]")).to_have_count(1)
    assert min(offsets) > 0, "what had arrived was not sent again"


def _after_the_session_ended(page: Page, hospital: Hospital, film: Path) -> None:
    page.context.clear_cookies()
    page.locator("#files").set_input_files(film)
    send(page)
    expect(page.get_by_text("Your session has ended. Nothing is lost")).to_be_visible()
    assert re.search(r"/upload/$", page.url)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Sign in in another tab").click()
    other = opened.value
    other.get_by_label("E-mail").fill(hospital.technologist.email)
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("button", name="Sign in").click()
    other.get_by_role("navigation", name="Main").wait_for()
    page.bring_to_front()
    expect(page.locator("[data-state=stored]")).to_have_count(2)
    expect(page.locator("#connection")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width", "count"), [("light", 1280, 1000), ("dark", 1280, 20), ("light", 320, 20)])
def test_a_thousand_files_stay_quick_and_the_page_is_sound(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], scheme: str, width: int, count: int
) -> None:
    page = enter(north.technologist, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto("/upload/")
    assert page.evaluate(DROP_FILES, count) < 3000, "milliseconds, on a machine that does much else"
    expect(page.locator("#queue > li")).to_have_count(count)
    page.locator("#queue > li", has_text=f"{count - 1}.png").get_by_role("button", name="Patient data").click()
    expect(page.get_by_label("Patient ID")).to_be_focused()
    page.get_by_label("The patient is unknown").check()
    page.get_by_label("This is a frontal chest radiograph").check()
    page.locator("#target").select_option("every")
    page.locator("#queue > li", has_text=f"{count - 2}.png").get_by_role("button", name="Remove").click()
    page.locator("#show").select_option("attention")
    expect(page.locator("#totals")).to_contain_text(f"Files: {count - 1}")
    assert defects(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
