"""The portal in a real browser: the main task from end to end, by mouse, by keyboard and without scripts."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.audit import defects
from tests.conftest import PASSWORD, Hospital
from tests.synthetic import synthetic_image

pytestmark = pytest.mark.browser


def picture(path: Path) -> Path:
    Image.fromarray((synthetic_image(21, 320).pixels >> 4).astype(np.uint8)).save(path)
    return path


def archive(path: Path, film: Path) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        packed.write(film, "CD/IM0001")
        packed.writestr("CD/readme.txt", "no film")
    return path


def shot(page: Page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("RGB"), dtype=int)


def test_from_upload_to_the_signed_pdf(
    north: Hospital, south: Hospital, enter: Callable[..., Page], make_film: Callable[..., Path], tmp_path: Path,
    read_studies: Callable[[], int],
) -> None:  # fmt: skip
    page = enter(north.radiologist)
    page.get_by_role("link", name="Upload films").first.click()
    film = make_film(seed=3, findings=("Effusion",), patient_name="DOE^Jane")
    files = [film, picture(tmp_path / "scan.png"), archive(tmp_path / "cd.zip", make_film(seed=4))]
    page.locator("#files").set_input_files(files)
    page.get_by_label("The patient is unknown").check()
    page.get_by_label("This is a frontal chest radiograph").check()
    page.get_by_role("button", name="Use for these pictures").click()
    page.get_by_role("button", name="Send").click()
    page.get_by_text("Files in this ZIP: 2").click()
    expect(page.locator("[data-outcome=stored]")).to_have_count(3)
    expect(page.locator("[data-outcome=refused]")).to_have_count(1)
    expect(page.locator("[data-outcome=refused]")).to_contain_text("readme.txt")

    page.locator("[data-outcome=stored]", has_text=film.name).get_by_role("link").click()
    expect(page.get_by_text("This film waits for the AI.")).to_be_visible()
    assert read_studies() == 3
    expect(page.locator("#status-chip")).to_have_text("Read by AI")
    expect(page.locator("#announce")).to_contain_text("Read by AI")
    expect(page.locator("#findings tbody tr")).to_have_count(14)

    _look_at_the_overlay(page)
    _sign(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the signed PDF").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")

    other = enter(south.radiologist, expect_statuses=(404,))
    response = other.goto(page.url)
    assert response is not None
    assert response.status == 404
    expect(other.get_by_text("There is no such study in this hospital.")).to_be_visible()


def _look_at_the_overlay(page: Page) -> None:
    overlay = page.locator("#overlay")
    if overlay.is_hidden():
        page.locator("tr[data-map] .pick").first.click()
    expect(overlay).to_be_visible()
    expect(page.locator("#overlay-tag")).to_contain_text("AI overlay")
    expect(page.locator("#scale")).to_contain_text("not a lesion outline")
    expect(overlay).to_have_js_property("complete", True)
    assert overlay.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.locator("#opacity").fill("100")
    page.wait_for_timeout(300)
    shown = shot(page)
    page.keyboard.press("h")
    expect(page.locator("#overlay-tag")).to_be_hidden()
    hidden = shot(page)
    assert np.abs(shown - hidden).max() > 20
    assert hidden.std() > 10, "the film itself is there"


def _sign(page: Page) -> None:
    page.get_by_role("button", name="Agree with the AI").first.click()
    expect(page.locator(".verdict[aria-pressed=true]")).to_have_count(1)
    page.get_by_label("Impression").fill("Small right effusion.")
    _agree_with_the_rest(page)
    page.get_by_role("button", name="Sign the report").click()
    expect(page.get_by_role("dialog")).to_contain_text("no longer changes")
    page.get_by_role("button", name="Sign now").click()
    # The first signature of a server loads what makes PDF.
    expect(page.get_by_text("The report is signed.")).to_be_visible(timeout=60_000)
    expect(page.locator(".impression")).to_have_text("Small right effusion.")


def _agree_with_the_rest(page: Page) -> None:
    rest = page.get_by_label(re.compile("Agree with the .*flagged finding"))
    if rest.is_visible():
        rest.check()


@pytest.mark.usefixtures("flagging")
def test_by_keyboard_alone(
    north: Hospital, open_page: Callable[..., Page], store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    store_film(north, seed=1, patient_name="FIRST^Film")
    store_film(north, seed=2, patient_name="SECOND^Film")
    read_studies()
    page = open_page()
    page.goto("/")
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(north.radiologist.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()
    page.goto("/?sort=newest")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Patient, ID or accession number")).to_be_focused()
    page.keyboard.type("film")
    # The list before the search has the same rows: keys count from the page on that the search leads to.
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator(".open-study")).to_have_count(2)
    assert "film" not in page.url
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".open-study").nth(1)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("SECOND, Film")
    _read_by_keyboard(page)


def _read_by_keyboard(page: Page) -> None:
    expect(page.locator("#tools")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    first = page.locator("#findings tbody tr").first
    if page.locator("#overlay").is_hidden():
        page.keyboard.press("1")
    expect(first).to_have_class(re.compile("is-shown"))
    page.keyboard.press("h")
    expect(page.locator("#overlay")).to_be_hidden()
    before = float(page.locator("#opacity").input_value())
    page.keyboard.press("+")
    assert float(page.locator("#opacity").input_value()) == before + 10
    page.keyboard.press("i")
    expect(page.get_by_role("button", name="Invert the greys")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("z")
    assert "scale(1.3)" in page.locator("#plate").evaluate("plate => plate.style.transform")
    page.keyboard.press("r")
    assert "scale(1)" in page.locator("#plate").evaluate("plate => plate.style.transform")
    page.keyboard.press("g")
    expect(page.locator("#rest")).to_be_hidden()
    page.keyboard.type("Unremarkable film.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign the report")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    # The first signature of a server loads what makes PDF.
    expect(page.get_by_text("The report is signed.")).to_be_visible(timeout=60_000)


def test_the_worklist_follows_and_keeps_the_focus(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    store_film(north, seed=1, patient_name="FIRST^Film")
    page = enter(north.radiologist)
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="FIRST, Film")).to_be_focused()
    store_film(north, seed=2, patient_name="SECOND^Film")
    expect(page.get_by_role("link", name="SECOND, Film")).to_be_visible()
    expect(page.get_by_role("link", name="FIRST, Film")).to_be_focused()
    expect(page.locator("#announce")).to_have_text("One study changed")


@pytest.mark.usefixtures("flagging")
def test_a_second_image_is_shown_without_the_overlay_of_the_first(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    same = {"study_uid": "2.25.77", "patient_id": "A"}
    address = f"/studies/{store_film(north, seed=1, view_position='PA', **same).study.pk}/"
    store_film(north, seed=2, view_position="LL", **same)
    read_studies()
    page = enter(north.radiologist)
    page.goto(address)
    if page.locator("#overlay").is_hidden():
        page.keyboard.press("1")
    expect(page.locator("#overlay")).to_be_visible()
    page.get_by_role("button", name="LL").click()
    expect(page.locator("#overlay")).to_be_hidden()
    expect(page.locator("#film")).to_have_attribute("src", f"{address}film.png?image=2")
    page.keyboard.press("h")
    expect(page.locator("#overlay")).to_be_visible()
    expect(page.locator("#film")).to_have_attribute("src", f"{address}film.png?image=1")


def test_without_scripts(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Path], read_studies: Callable[[], int]
) -> None:
    page = enter(north.radiologist, java_script_enabled=False)
    page.goto("/upload/")
    page.locator("#files").set_input_files(make_film(seed=5))
    page.get_by_role("button", name="Upload", exact=True).click()
    read_studies()
    page.get_by_role("link", name="Open the study").click()
    page.get_by_role("button", name="Disagree with the AI").first.click()
    expect(page.locator(".verdict[aria-pressed=true]")).to_have_count(1)
    page.get_by_label("Impression").fill("Small right effusion.")
    _agree_with_the_rest(page)
    page.get_by_role("button", name="Sign the report").click()
    # The first signature of a server loads what makes PDF.
    expect(page.get_by_text("The report is signed.")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize(
    ("scheme", "width", "height"), [("light", 1440, 900), ("dark", 1440, 900), ("light", 820, 1180), ("dark", 390, 844)]
)
def test_every_page_is_sound(
    north: Hospital, open_page: Callable[..., Page], enter: Callable[..., Page], store_film: Callable[..., Any],
    read_studies: Callable[[], int], scheme: str, width: int, height: int,
) -> None:  # fmt: skip
    """No error in the console, no breach of the content policy (the fixture fails on both), no WCAG defect."""
    look: dict[str, Any] = {
        "color_scheme": scheme, "viewport": {"width": width, "height": height}, "reduced_motion": "reduce"
    }  # fmt: skip
    stranger = open_page(**look)
    stranger.goto("/sign-in/")
    found = {"sign-in": defects(stranger)}
    page = enter(north.radiologist, expect_statuses=(404,), **look)
    found["empty"] = defects(page)
    stored = store_film(north, patient_name="DOE^Jane-Alexandra-Wilhelmina", patient_id="A" * 40)
    read_studies()
    store_film(north, seed=2)
    address = f"/studies/{stored.study.pk}/"
    for path in ("/", "/?status=failed", "/upload/", "/hospital/", "/nowhere/", f"/studies/{uuid4()}/", address):
        response = page.goto(path)
        assert response is not None
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "Not for diagnostic use" in page.inner_text("body")
        found[path] = defects(page)
    page.get_by_label("Switch between light and dark").click()
    found["other theme"] = defects(page)
    assert page.evaluate("localStorage.getItem('checxray.theme.reading')") == "light"
    assert {name: each for name, each in found.items() if each} == {}
