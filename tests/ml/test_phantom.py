import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.labels import LABELS
from ml.phantom import FINDINGS, demo_set, generate
from ml.phantom.geometry import Canvas, Ellipsoid, add_tube, blur

SIZE = 192


def _normal(seed: int) -> np.ndarray:
    return generate(seed, SIZE).pixels.astype(np.float64)


def test_the_same_arguments_give_the_same_image():
    first, second = generate(7, SIZE, ["Effusion", "Nodule"]), generate(7, SIZE, ["Nodule", "Effusion"])
    assert np.array_equal(first.pixels, second.pixels)
    assert first.boxes == second.boxes
    assert not np.array_equal(first.pixels, generate(8, SIZE, ["Effusion", "Nodule"]).pixels)


@pytest.mark.parametrize("size", [64, 130, 512])
def test_pixels_fill_twelve_bits_at_any_size(size: int):
    pixels = generate(3, size).pixels
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint16
    assert 3000 < pixels.max() <= 4095
    assert pixels.min() < 400


def test_anatomy_is_varied_and_both_sexes_occur():
    pictures = [generate(seed, 64) for seed in range(12)]
    assert {picture.sex for picture in pictures} == {"F", "M"}
    assert len({picture.age for picture in pictures}) > 6
    assert len({round(picture.spacing_mm, 4) for picture in pictures}) == 12


@pytest.mark.parametrize("seed", range(4))
def test_lungs_are_dark_between_bright_mediastinum_and_abdomen(seed: int):
    picture = _normal(seed)
    row = slice(int(0.4 * SIZE), int(0.55 * SIZE))
    right, left = picture[row, int(0.18 * SIZE) : int(0.3 * SIZE)], picture[row, int(0.76 * SIZE) : int(0.84 * SIZE)]
    middle = picture[row, int(0.47 * SIZE) : int(0.52 * SIZE)]
    abdomen = picture[int(0.92 * SIZE) :, int(0.3 * SIZE) : int(0.7 * SIZE)]
    for lung in (right, left):
        assert 500 < np.median(lung) < 2400
        assert np.median(lung) + 1000 < np.median(middle)
        assert np.median(lung) + 1000 < np.median(abdomen)


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_finding_changes_the_image_inside_its_box(finding: str, seed: int):
    picture = generate(seed, SIZE, [finding])
    change = np.abs(picture.pixels.astype(np.float64) - _normal(seed))
    x, y, width, height = picture.boxes[finding]
    assert finding in LABELS
    assert 0 <= x < x + width <= SIZE
    assert 0 <= y < y + height <= SIZE
    inside = np.zeros(change.shape, bool)
    inside[y : y + height, x : x + width] = True
    assert change[inside].mean() > 5 * change[~inside].mean()
    assert picture.findings == (finding,)


def test_cardiomegaly_widens_the_heart_beyond_half_the_chest():
    picture = generate(11, SIZE, ["Cardiomegaly"])
    x, _, width, _ = picture.boxes["Cardiomegaly"]
    # The widest row of both lungs together is the rib cage: 13 to 15 cm to each side.
    cage_px = 2 * 14.0 * 10 / picture.spacing_mm
    assert width / cage_px > 0.52
    assert x < SIZE / 2 < x + width


def test_findings_together_keep_a_box_each():
    picture = generate(4, 256, FINDINGS)
    assert set(picture.boxes) == set(FINDINGS)


@pytest.mark.parametrize(
    ("size", "findings", "message"),
    [(64, ["Fracture"], "choose from"), (64, ["Mass", "Mass"], "once"), (16, [], "size"), (9000, [], "size")],
)
def test_bad_arguments_are_refused_with_a_remedy(size: int, findings: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        generate(1, size, findings)


def test_the_mean_image_resembles_the_mean_real_image(test_data: Path):
    sample = test_data / "nih-sample"
    with (sample / "Data_Entry_2017.csv").open(newline="") as handle:
        rows = [r for r in csv.DictReader(handle) if r["Finding Labels"] == "No Finding" and r["View Position"] == "PA"]
    real = np.mean([np.asarray(_small(sample / "images" / r["Image Index"])) for r in rows[:60]], axis=0)
    ours = np.mean([_shrink(generate(seed, 128).pixels) for seed in range(24)], axis=0)
    assert np.corrcoef(real.ravel(), ours.ravel())[0, 1] > 0.85


def _small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L").resize((32, 32), Image.Resampling.BOX)


def _shrink(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).resize((32, 32), Image.Resampling.BOX))


def test_the_chord_of_a_ball_is_its_diameter_and_its_volume_is_right():
    canvas = Canvas(200, 20.0, np.zeros_like)
    chord = canvas.half_chord(Ellipsoid(0, 10, 0, 3, 3, 3))
    assert chord is not None
    assert 2 * chord[1].max() == pytest.approx(6, rel=0.01)
    assert 2 * chord[1].sum() / canvas.scale**2 == pytest.approx(4 / 3 * np.pi * 27, rel=0.01)


def test_a_tube_counts_once_where_its_segments_meet():
    canvas = Canvas(200, 20.0, np.zeros_like)
    image = canvas.zeros()
    add_tube(canvas, image, np.array([[-5, 10], [0, 10], [5, 10]]), [1, 1, 1], [2, 2, 2])
    assert image.max() == pytest.approx(2, rel=0.01)
    assert image[100, 100] == pytest.approx(image[100, 75], rel=0.02)


@pytest.mark.parametrize("sigma", [0.8, 4.0, 12.0])
def test_blur_keeps_the_sum_and_spreads_by_sigma(sigma: float):
    image = np.zeros((192, 192), np.float32)
    image[96, 96] = 1
    soft = blur(image, sigma)
    axis = np.arange(192)
    mean = (soft.sum(0) * axis).sum() / soft.sum()
    spread = np.sqrt((soft.sum(0) * (axis - mean) ** 2).sum() / soft.sum())
    assert soft.sum() == pytest.approx(1, abs=0.03)
    assert spread == pytest.approx(sigma, rel=0.2)


def test_the_demo_set_is_fixed_and_varied_and_has_two_tenants():
    items = demo_set(12)
    assert items == demo_set(12)
    assert [item.tenant for item in items] == ["north", "south"] * 6
    planted = {finding for item in items for finding in item.findings}
    assert planted == set(FINDINGS)
    assert any(not item.findings for item in items)
    assert all(item.patient_name.startswith("SYNTHETIC^") for item in items)
    assert len({item.accession_number for item in items}) == 12
    for tenant in ("north", "south"):
        patients = [item.patient_id for item in items if item.tenant == tenant]
        assert len(set(patients)) < len(patients)
    assert demo_set(4) == items[:4]
    with pytest.raises(ValueError, match="negative"):
        demo_set(-1)
