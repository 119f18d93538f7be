"""The viewer in a real browser: the film with the bit depth of its file, by WebGL and without it."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, Route, expect
from pydicom.dataset import Dataset

from tests.browser.conftest import launched
from tests.browser.stage import opened, shot
from tests.conftest import Hospital

pytestmark = pytest.mark.browser

LENS = """lens => {
    const { data } = lens.getContext('2d').getImageData(60, 60, 100, 100);
    return data.filter((value, at) => at % 4 === 0).reduce((sum, value) => sum + value, 0) / 10000;
}"""
WITH_WEBGL = "--enable-unsafe-swiftshader"
WITHOUT_WEBGL = "--disable-3d-apis"


@pytest.fixture(scope="module", params=[WITH_WEBGL, WITHOUT_WEBGL])
def kind(request: pytest.FixtureRequest) -> str:
    argument: str = request.param
    return argument


@pytest.fixture(scope="module")
def browser(kind: str) -> Iterator[Browser]:
    with launched([kind]) as browser:
        yield browser


def bytes_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def greys(page: Page) -> NDArray[np.float64]:
    return shot(page.locator("#stage"))


def servers_picture(page: Page) -> NDArray[np.float64]:
    """What the stage would look like without the full-depth picture."""
    page.evaluate("document.querySelector('#stage').classList.remove('is-full')")
    found = greys(page)
    page.evaluate("document.querySelector('#stage').classList.add('is-full')")
    return found


def unusual_films(make_film: Callable[..., Any]) -> Iterator[tuple[str, Dataset]]:
    """Films that are only right if a step of the display pipeline is: what PS3.3 lets a modality send."""
    for name, syntax in (("jpeg-2000", "1.2.840.10008.1.2.4.90"), ("lossless", "1.2.840.10008.1.2.4.70"),
                         ("jpeg-ls", "1.2.840.10008.1.2.4.80"), ("rle", "1.2.840.10008.1.2.5")):  # fmt: skip
        yield name, pydicom.dcmread(make_film(seed=1, transfer_syntax=syntax, patient_id=name))
    yield "monochrome1", pydicom.dcmread(make_film(seed=1, photometric="MONOCHROME1", patient_id="M1"))
    rescaled = pydicom.dcmread(make_film(seed=1, patient_id="RESCALED"))
    rescaled.RescaleSlope, rescaled.RescaleIntercept, rescaled.RescaleType = "0.5", "-100", "US"
    rescaled.WindowCenter, rescaled.WindowWidth, rescaled.VOILUTFunction = "924", "1200", "SIGMOID"
    yield "rescaled", rescaled
    turned = pydicom.dcmread(make_film(seed=1, patient_id="TURNED"))
    pixels = turned.pixel_array
    turned.PatientOrientation = ["H", "R"]
    turned.PixelData = np.ascontiguousarray(np.rot90(pixels, 2).T[:, 100:]).tobytes()
    turned.Columns = 412
    turned.ShutterShape, turned.CenterOfCircularShutter, turned.RadiusOfCircularShutter = "CIRCULAR", [256, 206], "200"
    yield "turned", turned
    curved = pydicom.dcmread(make_film(seed=1, patient_id="CURVED"))
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.add_new("LUTData", "OW", (4095 * (np.arange(4096) / 4095) ** 2).astype("<u2").tobytes())
    curved.VOILUTSequence = [item]
    del curved.WindowCenter, curved.WindowWidth
    yield "curved", curved


def test_the_first_view_has_the_greys_of_the_servers_picture(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Any], send: Callable[..., Any],
    kind: str,
) -> None:  # fmt: skip
    """For every step of the pipeline, as it is opened, and turned and mirrored."""
    page = enter(north.radiologist)
    page.set_viewport_size({"width": 1024, "height": 700})
    wrong = {}
    for name, dataset in unusual_films(make_film):
        if kind == WITHOUT_WEBGL and name not in ("monochrome1", "turned"):
            continue
        opened(page, send(north, bytes_of(dataset)).study_id)
        for keys in ("", "tx") if name == "turned" else ("",):
            for key in keys:
                page.keyboard.press(key)
            full, reduced = greys(page), servers_picture(page)
            assert full.std() > 20, f"{name}: the stage is black"
            if np.abs(full - reduced).mean() > 3:
                wrong[f"{name} {keys}"] = np.abs(full - reduced).mean()
    assert wrong == {}


def faint_film(make_film: Callable[..., Any]) -> Dataset:
    """A film of 12 bits with a square that differs from what is around it by less than a step of 8 bits."""
    dataset = pydicom.dcmread(make_film(seed=1, patient_id="FAINT"))
    pixels = np.full((512, 512), 2056, "<u2")
    pixels[128:384, 128:384] = 2062
    pixels[:20], pixels[-20:] = 0, 4095
    dataset.PixelData = pixels.tobytes()
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PixelSpacing, dataset.ImagerPixelSpacing = ["0.4", "0.4"], ["0.5", "0.5"]
    return dataset


def test_a_film_of_12_bits_shows_greys_that_8_bits_cannot(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """The window is changed by keys, by the mouse and by presets; undo and reset lead back to that of the file."""
    page = opened(enter(north.radiologist), send(north, bytes_of(faint_film(make_film))).study_id)
    assert np.ptp(inner(greys(page))) <= 1
    assert np.ptp(inner(servers_picture(page))) == 0, "8 bits have one grey for both"
    page.locator("#width").fill("12")
    page.locator("#level").fill("2059")
    full = inner(greys(page))
    assert np.ptp(full) > 80
    assert np.ptp(inner(servers_picture(page))) == 0
    page.keyboard.press("Escape")
    page.locator("#stage").focus()
    page.keyboard.press("i")
    assert np.abs(inner(greys(page)) - (255 - full)).max() <= 2
    page.keyboard.press("u")
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#preset")).to_have_value("0")
    page.keyboard.press("v")
    expect(page.locator("#announce")).to_have_text("Lungs")
    page.keyboard.press("w")
    before = page.locator("#window-values").inner_text()
    page.keyboard.press("ArrowRight")
    by_key = page.locator("#window-values").inner_text()
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 260, box["y"] + 260, steps=3)
    page.mouse.up(button="right")
    assert len({before, by_key, page.locator("#window-values").inner_text()}) == 3
    page.keyboard.press("r")
    expect(page.locator("#preset")).to_have_value("0")
    expect(page.locator("#window-values")).to_have_text("Level 2048, window 4095")


def inner(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of the stage, where the film is."""
    rows, columns = picture.shape
    return picture[rows // 2 - 180 : rows // 2 + 180, columns // 2 - 180 : columns // 2 + 180]


def test_lengths_say_what_they_are_worth(
    north: Hospital, enter: Callable[..., Page], make_film: Callable[..., Any], send: Callable[..., Any], kind: str
) -> None:
    """256 pixels of 0.4 mm by the mouse; the same by keys; at the detector; without a spacing. And the magnifier."""
    if kind == WITHOUT_WEBGL:
        pytest.skip("With software WebGL the film is drawn on the CPU too: the other run covers it.")
    page = enter(north.radiologist)
    film = faint_film(make_film)
    opened(page, send(north, bytes_of(film)).study_id)
    page.keyboard.press("l")
    box = page.locator("#stage").bounding_box()
    assert box is not None
    side = min(box["width"], box["height"])
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0] - side / 4, middle[1])
    page.mouse.down()
    page.mouse.move(middle[0] + side / 4, middle[1], steps=4)
    page.mouse.up()
    text = page.locator(".lines text").last
    expect(text).to_have_text(re.compile(r"10[123]\.\d mm, calibrated"))
    page.keyboard.press("t")
    page.keyboard.press("z")
    expect(text).to_have_text(re.compile(r"10[123]\.\d mm, calibrated"))
    page.keyboard.press("Delete")
    expect(text).to_have_count(0)
    page.keyboard.press("u")
    expect(text).to_have_count(1)
    page.keyboard.press("m")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lens")).to_be_visible()
    assert page.locator(".lens").evaluate(LENS) > 100
    page.keyboard.press("Escape")
    expect(page.locator(".lens")).to_be_hidden()

    del film.PixelSpacing
    film.PatientID, film.StudyInstanceUID, film.SeriesInstanceUID = "B", "2.25.1", "2.25.2"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = "2.25.3"
    opened(page, send(north, bytes_of(film)).study_id)
    page.keyboard.press("l")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    expect(text).to_have_text(re.compile(r"^\d+\.\d mm at the detector$"))
    del film.ImagerPixelSpacing
    film.PatientID, film.StudyInstanceUID, film.SeriesInstanceUID = "C", "2.25.4", "2.25.5"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = "2.25.6"
    opened(page, send(north, bytes_of(film)).study_id)
    page.keyboard.press("l")
    page.keyboard.press("Enter")
    expect(text).to_have_text(re.compile(r"^\d+ pixels, uncalibrated$"))


FAULTS: dict[str, Callable[[Route], None]] = {
    "**/dicom-web/**": lambda route: route.fulfill(status=401, json={}),  # The session has ended.
    "**/frames/1": lambda route: route.fulfill(body=b"cut off"),
    "**/static/viewer/**": lambda route: route.abort(),
}


def test_without_the_full_depth_the_servers_picture_stays(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], kind: str
) -> None:
    if kind == WITHOUT_WEBGL:
        pytest.skip("The full depth is never drawn here, so WebGL makes no difference.")
    page = enter(north.radiologist, expect_statuses=(401,), expect_lost=True)
    address = f"/studies/{store_film(north, seed=1).study.pk}/"
    for requests, fault in FAULTS.items():
        page.unroute_all()
        page.route(requests, fault)
        page.goto(address)
        expect(page.locator(".depth-note").first).to_have_text("Shown reduced: 8 bits, as the server renders it")
    expect(page.locator("#brightness")).to_be_visible()
    expect(page.locator("#level")).to_be_hidden()
    page.keyboard.press("w")
    page.keyboard.press("ArrowRight")
    assert float(page.locator("#contrast").input_value()) < 100
    page.keyboard.press("t")
    assert greys(page).std() > 20


def test_the_full_depth_shows_what_the_servers_picture_lacks(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], kind: str
) -> None:
    if kind == WITHOUT_WEBGL:
        pytest.skip("With software WebGL the film is drawn on the CPU too: the other run covers it.")
    page = enter(north.radiologist, expect_lost=True)
    page.route("**/film.png", lambda route: route.abort())
    opened(page, store_film(north, seed=1).study.pk)
    expect(page.locator("#film-error")).to_be_hidden()
    assert greys(page).std() > 20


def test_a_screen_with_more_pixels_shows_the_same_place(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    page = enter(north.radiologist, viewport={"width": 1024, "height": 700}, device_scale_factor=2)
    opened(page, store_film(north, seed=1).study.pk)
    for key in "zx":
        page.keyboard.press(key)
    full = greys(page)
    assert full.std() > 20
    assert np.abs(full - servers_picture(page)).mean() < 4
