from pathlib import Path

import numpy as np
import pytest

from ml.data import Box, find_table, read_boxes, read_table
from ml.evaluation.localisation import FORMS, Maps, localisation
from ml.evaluation.prior import FIGURES, Prior
from ml.evaluation.regions import Rectangle, peak_region
from ml.labels import LABELS
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace


def flooded(mask: np.ndarray, seed: tuple[int, int]) -> Rectangle:
    waiting, seen = [seed], {seed}
    while waiting:
        y, x = waiting.pop()
        for point in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if all(0 <= p < s for p, s in zip(point, mask.shape, strict=True)) and mask[point] and point not in seen:
                seen.add(point)
                waiting.append(point)
    rows, columns = [y for y, _ in seen], [x for _, x in seen]
    return Rectangle(min(columns), min(rows), max(columns) + 1, max(rows) + 1)


def test_the_region_is_the_flood_fill_from_the_peak() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        values = rng.random((24, 31)).astype(np.float32)
        cut = float(rng.uniform(0.3, 0.6))
        peak = np.unravel_index(int(np.argmax(values)), values.shape)
        assert peak_region(values, cut) == flooded(values >= cut, (int(peak[0]), int(peak[1])))


def test_nothing_reaches_the_cut() -> None:
    assert peak_region(np.zeros((4, 4), np.float32), 0.5) is None
    assert peak_region(np.ones((4, 4), np.float32), np.inf) is None


def test_overlaps_by_hand() -> None:
    one, two = Rectangle(0, 0, 10, 10), Rectangle(5, 0, 15, 10)
    assert one.overlap(two) == 50
    assert one.iou(two) == pytest.approx(50 / 150)
    assert one.iou(Rectangle(20, 20, 30, 30)) == 0
    assert one.contains(*two.centre)


SCALES = {label: CamScale(0.0, 2.0) for label in LABELS}


def planted(boxes: list[Box], cells: int, space: InputSpace, hit: bool = True) -> Maps:
    """Maps with one high cell at each box's centre, or in the corner that is farthest from it."""
    cams = {}
    for box in boxes:
        grids = np.zeros((len(LABELS), cells, cells), np.float16)
        x, y = (box.x + box.width / 2) / box.columns, (box.y + box.height / 2) / box.rows
        if not hit:
            x, y = (x + 0.5) % 1, (y + 0.5) % 1
        grids[LABELS.index(box.label), int(y * cells), int(x * cells)] = 3.0
        cams[box.image] = grids
    return Maps(cams, SCALES, space)


def scattered(count: int, side: float = 180.0) -> list[Box]:
    rng = np.random.default_rng(1)
    labels = ("Mass", "Effusion")
    return [
        Box(f"{i}.png", labels[i % 2], *(float(v) for v in rng.uniform(50, 1024 - side - 50, 2)), side, side)
        for i in range(count)
    ]


def test_maps_that_point_are_better_than_both_controls() -> None:
    boxes = scattered(24)
    patients = {box.image: box.image for box in boxes}
    found = localisation(boxes, boxes, patients, planted(boxes, 16, InputSpace(256)), 200)
    mean = found["mean_of_labels"]
    assert mean["fixed_scale"]["pointing"] == mean["fixed_scale"]["box_contains_centre"] == 1.0
    assert mean["fixed_scale"]["region_found"] == 1.0
    assert mean["fixed_scale"]["iobb>0.5"] == 1.0
    # A cell of 64 pixels cut at a third of its peak spans about 80: IoU with 180 is about 0.2.
    assert mean["fixed_scale"]["iou>0.1"] == 1.0
    assert mean["fixed_scale"]["iou>0.5"] == 0.0
    share = (180 / 1024) ** 2
    assert mean["random_fixed_scale"]["pointing"] == pytest.approx(share, abs=0.01)
    assert mean["pointing_over_random_ci95"][0] > 0.9
    assert mean["pointing_over_prior_ci95"][0] > 0.5
    assert mean["pointing_ci95"][1] == 1.0
    assert found["labels_in_mean"] == ["Effusion", "Mass"]
    assert found["labels"]["Mass"]["boxes"] == 12


def test_maps_that_point_elsewhere_are_not() -> None:
    boxes = scattered(20)
    patients = {box.image: box.image for box in boxes}
    mean = localisation(boxes, boxes, patients, planted(boxes, 16, InputSpace(256), hit=False), 200)["mean_of_labels"]
    assert mean["fixed_scale"]["pointing"] == 0.0
    assert mean["pointing_over_random_ci95"][1] < 0.0


def test_a_faint_map_is_a_miss_on_the_fixed_scale_only() -> None:
    boxes = scattered(6)
    patients = {box.image: box.image for box in boxes}
    maps = planted(boxes, 16, InputSpace(256))
    faint = Maps({name: grids * np.float16(0.1) for name, grids in maps.cams.items()}, SCALES, maps.space)
    whole = localisation(boxes, boxes, patients, faint, 50)["all_boxes"]
    assert whole["fixed_scale"]["region_found"] == whole["fixed_scale"]["iou>0.1"] == 0.0
    assert whole["own_peak"]["region_found"] == whole["own_peak"]["iou>0.1"] == 1.0
    assert whole["fixed_scale"]["pointing"] == 1.0


def test_a_constant_map_and_a_scale_of_zero_find_nothing() -> None:
    box = Box("a.png", "Mass", 400, 400, 100, 100)
    flat = {"a.png": np.zeros((len(LABELS), 7, 7), np.float16)}
    none = {label: CamScale(0.0, 0.0) for label in LABELS}
    whole = localisation([box], [box], {"a.png": "1"}, Maps(flat, none, InputSpace(224)), 20)["all_boxes"]
    assert whole["fixed_scale"]["region_found"] == whole["own_peak"]["region_found"] == 0.0


def test_boxes_of_a_cropped_image_are_compared_at_their_place() -> None:
    """In an image of 400 x 800 the network sees the middle square, so its left cell starts at column 200."""
    box = Box("a.png", "Mass", 200, 0, 120, 120, 400, 800)
    grids = np.zeros((len(LABELS), 4, 4), np.float16)
    grids[LABELS.index("Mass"), 0, 0] = 3.0
    maps = Maps({"a.png": grids}, SCALES, InputSpace(64, fit="crop"))
    whole = localisation([box], [box], {"a.png": "1"}, maps, 20)["all_boxes"]
    assert whole["fixed_scale"]["pointing"] == whole["fixed_scale"]["box_contains_centre"] == 1.0
    assert whole["fixed_scale"]["iou>0.5"] == 1.0


def test_the_prior_leaves_the_patient_out() -> None:
    boxes = [Box(f"{i}.png", "Mass", 100, 100, 200, 200) for i in range(3)]
    own = {box.image: "same" for box in boxes}
    assert not Prior(boxes, own).figures(boxes[0]).any()
    others = {box.image: box.image for box in boxes}
    assert Prior(boxes, others).figures(boxes[0])[FIGURES.index("pointing")] == 1.0


def test_position_prior_of_the_real_boxes(test_data: Path) -> None:
    """Figures of another implementation, which may choose another maximum of the density where several are equal."""
    root = test_data / "nih-official"
    table = read_table(find_table(root))
    boxes = read_boxes(root, table)
    patients = {box.image: table[box.image].patient for box in boxes}
    assert len(boxes) == 984
    prior = Prior(boxes, patients)
    expected = {
        "Cardiomegaly": 0.986,
        "Infiltration": 0.55,
        "Pneumonia": 0.50,
        "Effusion": 0.35,
        "Pneumothorax": 0.33,
        "Mass": 0.32,
        "Atelectasis": 0.16,
        "Nodule": 0.00,
    }
    for label, share in expected.items():
        hits = [prior.figures(box)[0] for box in boxes if box.label == label]
        exact = label in ("Cardiomegaly", "Nodule")
        assert np.mean(hits) == pytest.approx(share, abs=5e-4 if exact else 0.11), label


def test_every_form_has_every_figure() -> None:
    boxes = scattered(4)
    found = localisation(boxes, boxes, {b.image: b.image for b in boxes}, planted(boxes, 4, InputSpace(64)), 20)
    assert found["mean_of_labels"] is None
    for form in FORMS:
        assert set(found["all_boxes"][form]) == set(FIGURES)
