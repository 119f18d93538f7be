"""Measure localisation: compare class activation maps with boxes that radiologists drew.

Every figure has two controls that do not use the position in the map. One is the same map, shifted cyclically by random
steps: same values and smoothness, other position. The other is the box-position prior: the places of other patients'
boxes with that label. A map localises a finding only if its figures are better than both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ml.bootstrap import Draws, bootstrap_shares, interval, share_interval
from ml.data import Box
from ml.evaluation.prior import CUT, FIGURES, RASTER, Prior, box_figures
from ml.evaluation.regions import Rectangle, peak_region
from ml.labels import LABELS
from ml.metrics import round_means
from ml.model.saliency import CamScale
from ml.model.transforms import Geometry, InputSpace, map_back

SHIFTS = 8
MIN_BOXES = 10
FORMS = ("fixed_scale", "own_peak", "random_fixed_scale", "random_own_peak", "prior")
METHOD = (
    "Maps are upsampled bilinearly and brought back to the film. Pointing: the map's peak lies in the radiologist's "
    "box, without tolerance. Predicted box: bounding box of the region around the peak at or above the cut; IoBB is "
    f"overlap / area of the predicted box. fixed_scale cuts at {CUT} of the version's fixed display scale, as a reader "
    "sees it; a fainter map has no region and is a miss. own_peak cuts half-way between the scale's zero and the map's "
    f"own peak. Controls: random is the same map at {SHIFTS} random cyclic shifts (pointing: at all); prior is the sum "
    "of all other patients' boxes of the label, cut at half its peak."
)


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps (14, h, w) in logit units by image, the display scale of each label, and the network's input space."""

    cams: Mapping[str, NDArray[Any]]
    scales: Mapping[str, CamScale]
    space: InputSpace


def localisation(
    boxes: Sequence[Box], all_boxes: Sequence[Box], patients: Mapping[str, str], maps: Maps, rounds: int, seed: int = 0
) -> dict[str, Any]:
    """Localisation figures with their controls; intervals are by patient.

    Args:
        boxes: boxes of images in `maps`.
        all_boxes: all known boxes, for the prior.
        patients: patient of each image.
        maps: of the version.
        rounds: of the bootstrap.
        seed: for bootstrap and random shifts.

    Returns:
        {"method", "boxes", "films", "labels": {label: {"boxes", form: {figure: share}, ...}},
        "all_boxes": {form: {figure: share}, ...}, "mean_of_labels": ...}. The last three have the interval of pointing
        and its difference from each control.
    """
    rng, prior = np.random.default_rng(seed), Prior(all_boxes, patients)
    scores = np.array([_scores(box, prior, maps, rng) for box in tqdm(boxes, desc="Boxes", unit="box", leave=False)])
    draws = Draws.of([patients[box.image] for box in boxes], rounds, seed)
    labels = [box.label for box in boxes]
    present = [label for label in LABELS if label in labels]
    member = {label: np.array([name == label for name in labels]) for label in present}
    counted = [label for label in present if member[label].sum() >= MIN_BOXES]
    samples = {label: _samples(scores, mask, draws) for label, mask in member.items()}
    all_of_them = np.ones(len(boxes), dtype=bool)
    return {
        "method": METHOD,
        "boxes": len(boxes),
        "films": len({box.image for box in boxes}),
        "patients": len({patients[box.image] for box in boxes}),
        "labels": {
            label: {
                "boxes": int(member[label].sum()),
                **_summary(
                    scores[member[label]].mean(axis=0),
                    samples[label],
                    len({patients[box.image] for box in boxes if box.label == label}),
                ),
            }
            for label in present
        },
        "all_boxes": _summary(scores.mean(axis=0), _samples(scores, all_of_them, draws), draws.counts.shape[1]),
        "mean_of_labels": _mean_of_labels(scores, member, counted, samples, draws),
        "labels_in_mean": counted,
        "note": f"Labels with under {MIN_BOXES} boxes are left out of the mean of labels; a label whose boxes are all "
        "of one patient has no prior, its control is 0.",
    }


def by_label(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """From the figures of `localisation`: what each label's maps are worth as a localisation.

    A map counts as one only if its peak lies in the radiologists' boxes more often than chance and more often than a
    guess from other patients' boxes, each by more than the uncertainty of the difference.

    Returns:
        {label: {"boxes", "pointing", "random", "prior", "ci95" (of pointing), "validated"}}.
    """
    return {
        label: {
            "boxes": entry["boxes"],
            "pointing": entry["fixed_scale"]["pointing"],
            "random": entry["random_fixed_scale"]["pointing"],
            "prior": entry["prior"]["pointing"],
            "ci95": entry["pointing_ci95"],
            "validated": entry["boxes"] >= MIN_BOXES
            and all((entry[f"pointing_over_{name}_ci95"] or [0.0])[0] > 0.0 for name in ("random", "prior")),
        }
        for label, entry in figures["labels"].items()
    }


def _scores(box: Box, prior: Prior, maps: Maps, rng: np.random.Generator) -> NDArray[np.float64]:
    """The figures of one box, (forms, figures)."""
    scale = maps.scales[box.label]
    grid = np.asarray(maps.cams[box.image][LABELS.index(box.label)], dtype=np.float32) - np.float32(scale.e0)
    geometry = Geometry.of(box.rows, box.columns, maps.space)
    truth = Rectangle(box.x, box.y, box.x + box.width, box.y + box.height)
    cuts = (CUT * scale.s if scale.s > 0 else np.inf, CUT * max(float(grid.max()), 0.0) or np.inf)
    own = _grid_figures(grid, geometry, truth, cuts)
    shifts = rng.permutation(grid.size)[:SHIFTS]
    shifted = [np.roll(grid, divmod(int(shift), grid.shape[1]), axis=(0, 1)) for shift in shifts]
    control = np.mean([_grid_figures(other, geometry, truth, cuts) for other in shifted], axis=0)
    cells = [_cell_centre(divmod(cell, grid.shape[1]), grid.shape, geometry) for cell in range(grid.size)]
    control[:, 0] = np.mean([truth.contains(x, y) for x, y in cells])
    return np.concatenate([own, control, prior.figures(box)[None]])


def _grid_figures(
    grid: NDArray[np.float32], geometry: Geometry, truth: Rectangle, cuts: tuple[float, ...]
) -> NDArray[np.float64]:
    """The figures of one map, (cuts, figures)."""
    peak = np.unravel_index(int(np.argmax(grid)), grid.shape)
    pointing = truth.contains(*_cell_centre((int(peak[0]), int(peak[1])), grid.shape, geometry))
    raster = map_back(grid, geometry, RASTER, RASTER)
    across, down = geometry.columns / RASTER, geometry.rows / RASTER
    regions = [peak_region(raster, cut) for cut in cuts]
    return np.array([box_figures(pointing, r.scaled(across, down) if r else None, truth) for r in regions])


def _cell_centre(cell: tuple[int, int], shape: tuple[int, ...], geometry: Geometry) -> tuple[float, float]:
    """Centre (x, y) of a grid cell in the image. A bilinear surface has its peak at a cell centre."""
    v, u = ((index + 0.5) * geometry.size / count for index, count in zip(cell, shape, strict=True))
    return (u + geometry.offset_x) / geometry.scale_x, (v + geometry.offset_y) / geometry.scale_y


def _samples(scores: NDArray[np.float64], mask: NDArray[np.bool_], draws: Draws) -> NDArray[np.float64]:
    """Bootstrap means (R, forms, figures) over the boxes of `mask`."""
    flat = scores.reshape(len(scores), -1)
    among = np.repeat(mask[:, None], flat.shape[1], axis=1)
    return bootstrap_shares(flat, among, draws).reshape(-1, *scores.shape[1:])


def _shares(values: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    return {form: {figure: float(values[i, j]) for j, figure in enumerate(FIGURES)} for i, form in enumerate(FORMS)}


def _summary(values: NDArray[np.float64], samples: NDArray[np.float64], patients: int) -> dict[str, Any]:
    """Shares, the interval of pointing, and the difference of pointing from each control."""
    pointing = samples[:, FORMS.index("fixed_scale"), 0]
    found = share_interval(float(values[0, 0]), pointing, patients)
    result: dict[str, Any] = {**_shares(values), "pointing_ci95": found.pair() if found else None}
    for name in ("random_fixed_scale", "prior"):
        control = FORMS.index(name)
        gap = interval(pointing - samples[:, control, 0])
        result[f"pointing_over_{name.split('_')[0]}"] = float(values[0, 0] - values[control, 0])
        result[f"pointing_over_{name.split('_')[0]}_ci95"] = gap.pair() if gap else None
    return result


def _mean_of_labels(
    scores: NDArray[np.float64],
    member: Mapping[str, NDArray[np.bool_]],
    counted: Sequence[str],
    samples: Mapping[str, NDArray[np.float64]],
    draws: Draws,
) -> dict[str, Any] | None:
    if not counted:
        return None
    values = np.mean([scores[member[label]].mean(axis=0) for label in counted], axis=0)
    shape = samples[counted[0]].shape
    stacked = np.stack([samples[label].reshape(shape[0], -1) for label in counted], axis=2)
    means = np.stack([round_means(stacked[:, i]) for i in range(stacked.shape[1])], axis=1).reshape(shape)
    return _summary(values, means, draws.counts.shape[1])
