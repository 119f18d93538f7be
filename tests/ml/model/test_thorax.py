from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data import find_table, read_boxes, read_table
from ml.dicom.radiograph import read_radiograph
from ml.model.thorax import SIDE, find_thorax, share_inside
from ml.model.transforms import InputSpace, to_square
from ml.phantom import SyntheticImage, generate

SPACE = InputSpace(320)


def square(pixels: np.ndarray) -> np.ndarray:
    return to_square(pixels, SPACE)


def covered(mask: np.ndarray, left: float, top: float, right: float, bottom: float) -> float:
    """The share of a box, in shares of the sides, that lies inside the region."""
    fine = mask.repeat(8, axis=0).repeat(8, axis=1)
    side = len(fine)
    box = fine[int(top * side) : int(bottom * side) + 1, int(left * side) : int(right * side) + 1]
    return float(box.mean())


@pytest.fixture(scope="module")
def drawn() -> SyntheticImage:
    return generate(3, 512, ("Cardiomegaly", "Mass"))


@pytest.fixture(scope="module")
def phantom(drawn: SyntheticImage) -> np.ndarray:
    return square((drawn.pixels >> 4).astype(np.uint8))


def test_the_findings_of_radiologists_lie_inside(test_data: Path) -> None:
    root = test_data / "nih-sample"
    shares, areas = [], []
    for box in read_boxes(root, read_table(find_table(root))):
        thorax = find_thorax(square(read_radiograph(root / "images" / box.image).pixels))
        assert thorax.is_found, box.image
        right, bottom = box.x + box.width, box.y + box.height
        edges = (box.x / box.columns, box.y / box.rows, right / box.columns, bottom / box.rows)
        shares.append(covered(thorax.mask, *edges))
        areas.append(float(thorax.mask.mean()))
    assert np.mean(shares) >= 0.93
    assert np.mean(np.array(shares) > 0.5) >= 0.98
    # It would be no check if most of the picture were inside.
    assert 0.35 < np.mean(areas) < 0.6


def test_drawn_findings_lie_inside(drawn: SyntheticImage, phantom: np.ndarray) -> None:
    thorax = find_thorax(phantom)
    assert thorax.is_found
    for left, top, width, height in drawn.boxes.values():
        assert covered(thorax.mask, *(v / 512 for v in (left, top, left + width, top + height))) > 0.6


def test_the_region_follows_the_image_and_leaves_out_its_borders(phantom: np.ndarray) -> None:
    whole = find_thorax(phantom).mask
    framed = np.zeros_like(phantom)
    framed[:, 40:280] = np.asarray(Image.fromarray(phantom).resize((240, 320)))
    padded = find_thorax(framed).mask
    assert padded[:, :4].sum() == padded[:, -4:].sum() == 0
    assert padded.sum() == pytest.approx(whole.sum() * 0.75, rel=0.15)
    mirrored = find_thorax(np.ascontiguousarray(phantom[:, ::-1])).mask
    assert np.mean(mirrored[:, ::-1] == whole) > 0.85


def test_without_a_chest_the_body_remains_and_the_result_says_so() -> None:
    picture = np.zeros((320, 320), np.uint8)
    picture[100:220] = np.random.default_rng(0).integers(60, 200, (120, 320))
    thorax = find_thorax(picture)
    assert not thorax.is_found
    assert thorax.mask[12:20].all()
    assert not thorax.mask[:8].any()
    assert not find_thorax(np.zeros((320, 320), np.uint8)).mask.any()


def test_the_share_of_each_cell() -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:8] = 1
    assert share_inside(mask, (4, 4))[0] == pytest.approx(1.0)
    assert share_inside(mask, (2, 10))[:, 0] == pytest.approx([0.5, 0.0])
    assert share_inside(mask, (20, 20)).shape == (20, 20)
