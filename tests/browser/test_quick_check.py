"""The quick check in a real browser: what it sends and shows, and that both inputs give the same result."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Page, Request, expect

from apps.audit.services import Actor
from apps.deployment.services import activate
from apps.inference.loading import load_version
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from ml.model.transforms import InputSpace, preprocess
from tests.api.predicting import grey
from tests.browser.audit import defects
from tests.conftest import Hospital
from tests.workers.loading import registered

pytestmark = pytest.mark.browser


@pytest.fixture
def warm(site: str, north: Hospital, starter: Any) -> None:
    """The site's own process has exported and loaded the version."""
    for _ in range(20):
        answer = requests.post(
            f"{site}/api/v1/predict", data=noisy(), headers={**north.bearer, "Content-Type": "image/png"}, timeout=60
        )
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text


def noisy(size: tuple[int, int] = (900, 1000)) -> bytes:
    """A film with the grain that makes a real one large."""
    film = np.asarray(Image.fromarray(grey(21, 512)).resize(size), np.int16)
    grain = np.random.default_rng(0).normal(0, 3, film.shape)
    out = io.BytesIO()
    Image.fromarray(np.clip(film + grain, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def choose(page: Page, name: str, content: bytes) -> Request:
    with page.expect_request("**/api/v1/predict*") as sent:
        page.locator("#file").set_input_files({"name": name, "mimeType": "", "buffer": content})
    return sent.value


def probabilities(page: Page) -> dict[str, float]:
    rows = page.locator("#findings tr")
    expect(rows).to_have_count(14)
    texts = rows.evaluate_all("rows => rows.map(r => [r.dataset.label, r.querySelector('.probability').textContent])")
    return {label: float(text.rstrip(" %")) / 100 for label, text in texts}


def test_a_picture_is_made_small_and_read_alike(
    north: Hospital, warm: None, enter: Callable[..., Page], site: str
) -> None:
    page, film = enter(north.radiologist), noisy()
    page.get_by_role("link", name="Quick check").click()
    expect(page.get_by_text("Nothing is stored").first).to_be_visible()
    expect(page.get_by_text("Not for diagnostic use").first).to_be_visible()

    request = choose(page, "film.png", film)
    shown = probabilities(page)

    assert request.headers["content-type"] == "application/x-npy"
    assert request.headers["content-encoding"] == "gzip"
    expect(page.locator("#sent")).to_contain_text("% saved")
    expect(page.locator("#film")).to_be_visible()
    raw = requests.post(
        f"{site}/api/v1/predict", data=film, headers={**north.bearer, "Content-Type": "image/png"}, timeout=60
    ).json()[0]
    for finding in raw["findings"]:
        assert abs(shown[finding["label"]] - finding["probability"]) <= 0.002
    pick = page.locator("#findings .pick:enabled").first
    if pick.get_attribute("aria-pressed") != "true":
        pick.click()
    expect(page.locator("#overlay")).to_be_visible()
    expect(page.locator("#caption")).to_contain_text("not a lesion outline")
    assert page.locator("#overlay").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert defects(page) == []
    with tenant_tx(north.tenant.id):
        assert Study.objects.count() == 0


def test_other_films_are_sent_as_they_are(
    north: Hospital, warm: None, enter: Callable[..., Page], make_film: Callable[..., Path]
) -> None:
    page = enter(north.radiologist, expect_statuses=(400,))
    page.goto("/quick-check/")
    expect(page.get_by_text("Choose a film, and its findings stand here.")).to_be_visible()

    dicom = choose(page, "film.dcm", make_film(seed=3).read_bytes())
    assert len(probabilities(page)) == 14
    assert dicom.headers["content-type"] == "application/dicom"
    expect(page.locator("#picture")).to_be_hidden()
    expect(page.locator("#findings .pick:enabled")).to_have_count(0)

    choose(page, "lateral.dcm", make_film(seed=4, view_position="LL").read_bytes())
    expect(page.locator("#refused")).to_contain_text("only frontal films are read")
    expect(page.locator("#answer")).to_be_hidden()

    choose(page, "notes.txt", b"no film")
    expect(page.get_by_role("alert")).to_contain_text("DICOM")
    assert defects(page) == []


@pytest.mark.parametrize("way", [{"fit": "square", "resize": "gaussian"}, {"fit": "crop", "resize": "bilinear"}])
def test_a_version_that_resamples_otherwise_is_sent_the_film_itself(
    north: Hospital, starter: Any, tmp_path: Path, enter: Callable[..., Page], site: str, way: dict[str, str]
) -> None:
    space = {**starter.manifest["input_space"], **way}
    imported = registered(tmp_path / "imported", "Imported.", input_space=space)
    activate(version=imported, by=Actor(name="test"))
    page, film = enter(north.radiologist, expect_statuses=(503,)), noisy((700, 1000))
    page.goto("/quick-check/")

    request = choose(page, "film.png", film)
    shown = probabilities(page)

    assert request.headers["content-type"] == "image/png"
    expect(page.locator("#sent")).to_contain_text("The file itself was sent")
    pixels = preprocess(np.asarray(Image.open(io.BytesIO(film))), InputSpace.from_dict(space))[None]
    predictor = load_version(imported, device="cpu")
    (expected,) = predictor.probabilities(predictor.predict_images(pixels))
    for label, probability in zip(predictor.manifest.labels, expected, strict=True):
        assert abs(shown[label] - probability) <= 0.002
    assert defects(page) == []


# In base64 both ways: a list of a million numbers takes the browser's protocol seconds.
FITTED = """async ([film, space]) => {
    const { greyOf, tensorOf } = await import("/static/js/preprocess.js");
    const bytes = Uint8Array.from(atob(film), (letter) => letter.charCodeAt(0));
    const tensor = tensorOf(await greyOf(new Blob([bytes], { type: "image/png" })), space);
    const reader = new FileReader();
    await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(tensor); });
    return reader.result.split(",")[1];
}"""


def test_the_browser_fits_a_film_as_the_server_does(north: Hospital, starter: Any, enter: Callable[..., Page]) -> None:
    page = enter(north.radiologist)
    page.goto("/quick-check/")
    for fit in ("stretch", "crop"):
        space = InputSpace(320, fit=fit, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))  # type: ignore[arg-type]
        for size in ((900, 1000), (640, 427), (300, 256), (256, 401), (320, 330)):
            film = noisy(size)
            file = page.evaluate(FITTED, [base64.b64encode(film).decode(), space.to_dict()])

            images = np.load(io.BytesIO(base64.b64decode(file)), allow_pickle=False)
            expected = preprocess(np.asarray(Image.open(io.BytesIO(film))), space)
            levels = np.abs(images[0] - expected) * np.asarray(space.std)[:, None, None] * 255
            assert (images.shape, images.dtype) == ((1, 3, 320, 320), np.dtype("<f4"))
            assert levels.max() <= 0.01, (fit, size)


def test_without_a_model_it_says_so(north: Hospital, enter: Callable[..., Page]) -> None:
    page = enter(north.radiologist)
    page.goto("/quick-check/")
    expect(page.get_by_role("heading", name="No model is in service")).to_be_visible()
    assert defects(page) == []
