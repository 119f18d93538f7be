"""Heatmaps: class activation maps in logit units on a fixed display scale, comparable between images.

The mean of CAM_c is exactly logit_c - b_c (Zhou et al. 2016), so a value is a contribution to the logit. The display
range belongs to the model version and not to the image: stretching each image from its minimum to its maximum would
paint a normal image red.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.model.transforms import Geometry, map_back

HIDDEN_BELOW = 0.25
"""No map is shown where probability / operating point is below this."""

WITHOUT_OPERATING_POINT = 0.5
"""Opacity for a label without an operating point, which is called neither positive nor negative."""


@dataclass(frozen=True)
class CamScale:
    """Display range of one label: `e0` maps to 0, `e0 + s` to 1, in logit units.

    e0 is the median of CAM_c over the validation images, e0 + s their 99.5th percentile.
    """

    e0: float
    s: float


def fit_cam_scale(cams: NDArray[Any]) -> CamScale:
    """Fit one label's scale on validation maps (N, h, w). A constant map gives s = 0, which displays nothing.

    So does a map of one cell, which a network without an exact map gives: it has no place to show.
    """
    if cams.shape[1:] == (1, 1):
        return CamScale(0.0, 0.0)
    e0, top = np.percentile(np.asarray(cams, dtype=np.float64), [50.0, 99.5])
    return CamScale(float(e0), float(max(top - e0, 0.0)))


def identity_error(logits: NDArray[Any], cams: NDArray[Any], bias: NDArray[Any]) -> float:
    """Largest |mean(CAM_c) + b_c - logit_c| over logits (N, L), cams (N, L, h, w), bias (L,)."""
    rebuilt = np.asarray(cams, dtype=np.float64).mean(axis=(2, 3)) + bias
    return float(np.abs(rebuilt - logits).max())


def as_float16(cams: NDArray[Any]) -> NDArray[np.float16]:
    """Convert maps (..., h, w) to float16 and keep their mean, so that the mean of a stored map gives the logit.

    Each cell takes over the rounding error of the cells before it; plain rounding would shift the mean by 1e-4.
    """
    exact = np.asarray(cams, dtype=np.float32)
    flat = exact.reshape(*exact.shape[:-2], -1)
    result = np.empty(flat.shape, dtype=np.float16)
    error = np.zeros(flat.shape[:-1], dtype=np.float32)
    for cell in range(flat.shape[-1]):
        wanted = flat[..., cell] + error
        result[..., cell] = wanted
        error = wanted - result[..., cell].astype(np.float32)
    return result.reshape(exact.shape)


def relative_contribution(cam: NDArray[Any], scale: CamScale) -> NDArray[np.float32]:
    """Contribution in [0, 1] on the version's fixed scale, same shape as `cam`; zeros where the scale is empty."""
    values = np.asarray(cam, dtype=np.float32)
    if scale.s <= 0.0:
        return np.zeros_like(values)
    return np.clip((values - np.float32(scale.e0)) / np.float32(scale.s), 0.0, 1.0)


def opacity(probability: float, threshold: float | None) -> float:
    """Opacity of a heatmap in [0, 1]: 1 from the operating point t up, p / t below it, 0 below t / 4.

    Only the opacity depends on the probability, so the colours stay comparable between patients.
    """
    if threshold is None:
        return WITHOUT_OPERATING_POINT
    if threshold <= 0.0 or probability >= threshold:
        return 1.0
    ratio = probability / threshold
    return ratio if ratio >= HIDDEN_BELOW else 0.0


# Polynomial fit (public domain, M. Zucker) of the perceptually uniform map "inferno" by N. Smith and S. van der Walt.
_INFERNO = np.array(
    [
        [0.0002189403691192265, 0.001651004631001012, -0.01948089843709184],
        [0.1065134194856116, 0.5639564367884091, 3.932712388889277],
        [11.60249308247187, -3.972853965665698, -15.9423941062914],
        [-41.70399613139459, 17.43639888205313, 44.35414519872813],
        [77.162935699427, -33.40235894210092, -81.80730925738993],
        [-71.31942824499214, 32.62606426397723, 73.20951985803202],
        [25.13112622477341, -12.24266895238567, -23.07032500287172],
    ]
)


def colour_table(alpha: float = 1.0) -> NDArray[np.uint8]:
    """RGBA lookup table, uint8 (256, 4): the colour map inferno, with an alpha that rises up to `alpha`."""
    t = np.linspace(0.0, 1.0, 256)
    rgb = np.clip(np.polynomial.polynomial.polyval(t, _INFERNO), 0.0, 1.0).T
    table = np.concatenate([rgb, (np.clip(alpha, 0.0, 1.0) * np.sqrt(t))[:, None]], axis=1)
    return np.ascontiguousarray(np.rint(table * 255), dtype=np.uint8)


def displayed_contribution(
    cam: NDArray[Any],
    scale: CamScale,
    geometry: Geometry,
    rows: int | None = None,
    columns: int | None = None,
    inside: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """One label's contribution in image coordinates: what heatmaps colour, and contours follow.

    The arguments are those of `heatmap_rgba`.

    Returns:
        float32 (rows, columns), 0..1 on the version's fixed scale.
    """
    image = map_back(np.asarray(cam, dtype=np.float32) - np.float32(scale.e0), geometry, rows, columns)
    gain = 1.0 / scale.s if scale.s > 0.0 else 0.0
    np.clip(np.multiply(image, np.float32(gain), out=image), 0.0, 1.0, out=image)
    if inside is not None:
        # A soft edge: none of the colour where a quarter of the place is inside, all of it from three quarters on.
        image *= np.clip(2.0 * map_back(inside, geometry, rows, columns) - 0.5, 0.0, 1.0)
    return image


def heatmap_rgba(
    cam: NDArray[Any],
    scale: CamScale,
    alpha: float,
    geometry: Geometry,
    rows: int | None = None,
    columns: int | None = None,
    inside: NDArray[Any] | None = None,
) -> NDArray[np.uint8]:
    """One label's overlay in image coordinates.

    The map is resized before it is clipped, so that a fine raster and a coarse one agree. Outside the thorax nothing is
    coloured: what the network found there is no sign of a finding of the lungs or the heart.

    Args:
        cam: (h, w) in logit units.
        scale: the label's display range.
        alpha: largest opacity, from `opacity`.
        geometry: how the image lies in the network's input.
        rows, columns: size of the overlay; by default that of the image.
        inside: (h, w), the share of each cell inside the thorax (`ml.model.thorax.share_inside`); None where unknown.

    Returns:
        uint8 (rows, columns, 4), RGBA with straight alpha.
    """
    image = displayed_contribution(cam, scale, geometry, rows, columns, inside)
    np.multiply(image, np.float32(255.0), out=image)
    # One lookup of 32 bits per pixel takes a third of the time of four lookups of bytes.
    packed = colour_table(alpha).view(np.uint32)[:, 0]
    return np.take(packed, np.rint(image, out=image).astype(np.uint8)).view(np.uint8).reshape(*image.shape, 4)


@dataclass(frozen=True)
class OutsideThorax:
    """How much of a map lies outside the thorax: whether its peak does, and the share of its contribution, 0 to 1."""

    peak: bool
    share: float


def outside_thorax(cam: NDArray[Any], scale: CamScale, inside: NDArray[Any]) -> OutsideThorax:
    """Measure a map (h, w) against `inside` (h, w), the share of each cell that is inside the thorax."""
    values = np.maximum(np.asarray(cam, dtype=np.float64) - scale.e0, 0.0)
    total = float(values.sum())
    if total <= 0.0:
        return OutsideThorax(False, 0.0)
    outside = 1.0 - np.asarray(inside, dtype=np.float64)
    peak = np.unravel_index(int(np.argmax(values)), values.shape)
    return OutsideThorax(bool(outside[peak] > 0.5), float((values * outside).sum() / total))


OUTSIDE = "outside the lungs: unreliable"


def zone(cam: NDArray[Any], scale: CamScale, inside: NDArray[Any] | None = None) -> str | None:
    """Text for where the strongest contribution lies, for readers who cannot see the map; None if there is none.

    Assumes the usual display of frontal images, with the patient's right on the left of the picture. `inside` is as in
    `heatmap_rgba`; a contribution outside the thorax gets no zone but the text OUTSIDE.
    """
    contribution = relative_contribution(cam, scale)
    if not contribution.max(initial=0.0) > 0.0:
        return None
    if inside is not None and outside_thorax(cam, scale, inside).peak:
        return OUTSIDE
    y, x = np.unravel_index(int(np.argmax(contribution)), contribution.shape)
    height, width = contribution.shape
    vertical = ("upper", "middle", "lower")[min(int((y + 0.5) * 3 / height), 2)]
    side = ("patient's right", "midline", "patient's left")[
        0 if (x + 0.5) / width < 0.42 else 2 if (x + 0.5) / width > 0.58 else 1
    ]
    return f"{side}, {vertical} zone"
