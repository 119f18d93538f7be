"""What lies over and beside the film in a real browser: maps of the AI and their names, sides, an earlier film."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, Route, expect

from apps.inference.services import JobResult, claim_jobs, complete_jobs
from apps.reports.services import create_drafts
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.browser.audit import defects
from tests.browser.stage import opened, shot
from tests.conftest import Hospital
from tests.results import GRID, version
from tests.synthetic import synthetic_image

__all__ = ["version"]

pytestmark = pytest.mark.browser


def test_overlay_and_contour_lie_on_the_lesion_however_the_film_lies(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any], version: Any
) -> None:
    """The map has its strongest cell where the lesion was planted; on the stage its colour is there too."""
    stored = store_film(north, seed=3, size=1024, findings=("Effusion",))
    box = synthetic_image(3, 1024, ("Effusion",)).boxes["Effusion"]
    planted = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2]) / 1024
    read_with_maps(north, version, stored.instance, {"Effusion": planted, "Infiltration": np.array([0.3, 0.3])})
    page = opened(enter(north.radiologist), stored.study.pk)
    before = colours(page)
    page.locator("#pick-Effusion").click()
    expect(page.locator("#contours path")).to_have_count(1)
    name = page.locator(".contour-names text").last
    expect(name).to_have_text("Effusion")
    assert near(page, name, planted)
    page.locator("#opacity").fill("100")
    page.locator("#overlay-mode").select_option("contour")
    assert np.hypot(*(middle_of(colours(page) - before) - planted)) < 0.1
    page.locator("#overlay-mode").select_option("heatmap")
    assert np.hypot(*(middle_of(colours(page) - before) - planted)) < 0.1
    page.locator("#stage").focus()
    page.keyboard.press("x")
    page.keyboard.press("h")
    expect(page.locator("#overlay")).to_be_hidden()
    before = colours(page)
    page.keyboard.press("h")
    expect(page.locator("#overlay")).to_be_visible()
    mirrored = np.array([1 - planted[0], planted[1]])
    page.locator("#overlay-mode").select_option("both")
    expect(page.locator(".contour-names text")).to_have_count(2)
    assert near(page, name, mirrored)
    page.locator("#overlay-mode").select_option("heatmap")
    page.locator("#stage").focus()
    assert np.hypot(*(middle_of(colours(page) - before) - mirrored)) < 0.1
    page.keyboard.press("b")
    page.locator("#pick-Infiltration").click()
    expect(page.locator("#overlay-tag")).to_contain_text("AI overlay: Infiltration")
    expect(page.locator("#overlay-tag")).to_contain_text("AI overlay: Effusion")
    expect(page.locator("#plate img.overlay")).to_have_count(2)


def near(page: Page, name: Locator, place: NDArray[np.float64]) -> bool:
    """Whether a text begins near a place, which is given in shares of a square film that is as high as the stage."""
    stage, box = page.locator("#stage").bounding_box(), name.bounding_box()
    assert stage is not None
    assert box is not None
    side = min(stage["width"], stage["height"])
    at = np.array([box["x"] - stage["x"] - (stage["width"] - side) / 2, box["y"] + box["height"] - stage["y"]]) / side
    return bool(np.hypot(*(at - place)) < 0.2)


def read_with_maps(
    hospital: Hospital, version: Any, instance: Instance, places: dict[str, NDArray[np.float64]]
) -> None:
    """End the waiting job with findings whose maps have one strong cell each."""
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    cams = np.zeros((len(LABELS), *GRID), np.float16)
    for label, (x, y) in places.items():
        cams[LABELS.index(label), int(y * GRID[0]), int(x * GRID[1])] = 2.0
    given = {label: 0.9 if label in places else 0.02 for label in LABELS}
    with tenant_tx(hospital.tenant.id):
        result = JobResult(job=job, instance=instance, instances_seen=1, probabilities=given, cams=cams)
        create_drafts(jobs=complete_jobs(results=[result], version=version))


def colours(page: Page) -> NDArray[np.float64]:
    """The stage in RGB, without what is written on it."""
    page.evaluate("document.querySelectorAll('.stage-tag, .scale').forEach((each) => { each.style.opacity = 0; })")
    page.wait_for_timeout(250)
    return shot(page.locator("#stage"), "RGB")


def middle_of(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of the region that changed, in shares of a square film that is as high as the stage."""
    weight = np.abs(change).sum(axis=2)
    rows, columns = (np.percentile(places, (1, 99)).mean() for places in np.nonzero(weight > 60))
    side = min(weight.shape)
    return np.array([(columns - (weight.shape[1] - side) / 2) / side, (rows - (weight.shape[0] - side) / 2) / side])


def sides(stage: Locator) -> list[str]:
    """The marks at the top, right, bottom and left edge."""
    return [stage.locator(f".side.at-{edge}").inner_text() for edge in ("top", "right", "bottom", "left")]


def test_an_earlier_film_beside_the_present_one(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    same = {"patient_id": "P-1", "patient_name": "DOE^Jane", "birth_date": "19600101"}
    store_film(north, seed=1, study_date="20240101", **same)
    present = store_film(north, seed=2, study_date="20240601", **same)
    page = opened(enter(north.radiologist), present.study.pk)
    expect(page.locator("#prior")).to_be_hidden()
    page.keyboard.press("p")
    earlier = page.locator("#prior .stage")
    expect(earlier).to_have_class("stage is-full")
    expect(earlier).to_contain_text("Earlier study of")
    tag, top = page.locator(".prior-tag").bounding_box(), earlier.locator(".side.at-top").bounding_box()
    assert tag is not None
    assert top is not None
    assert tag["x"] + tag["width"] < top["x"], "The tag covers the side of the patient."
    assert [sides(page.locator("#stage")), sides(earlier)] == [["H", "L", "F", "R"], ["H", "L", "F", "R"]]
    page.keyboard.press("t")
    page.keyboard.press("x")
    assert [sides(page.locator("#stage")), sides(earlier)] == [["R", "F", "L", "H"], ["R", "F", "L", "H"]]
    page.keyboard.press("r")
    page.keyboard.press("z")
    page.keyboard.press("i")
    plate = page.locator("#prior .plate")
    assert "scale(1.3)" in plate.evaluate("plate => plate.style.transform")
    assert shot(earlier).std() > 20
    page.get_by_label("Zoom and window follow").uncheck()
    page.keyboard.press("r")
    page.locator("#stage").focus()
    page.keyboard.press("r")
    assert "scale(1.3)" in plate.evaluate("plate => plate.style.transform")
    assert defects(page) == []
    page.keyboard.press("p")
    expect(page.locator("#prior")).to_be_hidden()
    page.get_by_text("1 earlier study").click()
    page.get_by_role("button", name="Compare").click()
    expect(earlier).to_have_class("stage is-full")


def test_no_side_of_the_next_film_stands_on_the_former_one(
    north: Hospital, enter: Callable[..., Page], store_film: Callable[..., Any]
) -> None:
    """Of two images of a study the second takes long to arrive: until then the stage shows no film and no side."""
    store_film(north, seed=1, patient_id="P-1", study_uid="2.25.77", sop_uid="2.25.771")
    study = store_film(
        north, seed=2, patient_id="P-1", study_uid="2.25.77", sop_uid="2.25.772", view_position="LL"
    ).study
    page = opened(enter(north.radiologist), study.pk)
    held: list[Route] = []
    page.route("**/film.png?*", lambda route: held.append(route))
    shown = sides(page.locator("#stage"))
    page.locator('.image[aria-pressed="false"]').click()
    expect(page.locator("#film")).to_be_hidden()
    expect(page.locator("#stage .side.at-left")).to_be_hidden()
    assert shot(page.locator("#stage"))[100:-100].std() < 20, "The former film is still shown."
    held[0].continue_()
    expect(page.locator("#stage .side.at-left")).to_be_visible()
    assert sides(page.locator("#stage")) != shown
    assert shot(page.locator("#stage")).std() > 20
