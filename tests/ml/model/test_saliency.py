import numpy as np
import pytest

from ml.model.saliency import (
    OUTSIDE,
    CamScale,
    as_float16,
    colour_table,
    fit_cam_scale,
    heatmap_rgba,
    identity_error,
    opacity,
    outside_thorax,
    relative_contribution,
    zone,
)
from ml.model.transforms import Geometry, InputSpace


def test_float16_maps_keep_their_mean() -> None:
    cams = np.random.default_rng(0).normal(0, 5, (20, 14, 7, 7)).astype(np.float32)
    logits = cams.mean(axis=(2, 3)) + 0.5
    assert identity_error(logits, as_float16(cams), np.full(14, 0.5)) < 1e-4
    assert identity_error(logits, cams.astype(np.float16), np.full(14, 0.5)) > 1e-4
    assert np.abs(as_float16(cams).astype(np.float32) - cams).max() < 0.02


def test_the_scale_belongs_to_the_version_and_not_to_the_image() -> None:
    scale = fit_cam_scale(np.random.default_rng(1).normal(0, 1, (100, 8, 8)))
    faint = np.full((8, 8), scale.e0 + 0.1 * scale.s)
    assert relative_contribution(faint, scale) == pytest.approx(0.1, abs=1e-6)
    assert relative_contribution(np.full((8, 8), -50.0), scale).max() == 0
    assert relative_contribution(np.full((8, 8), 50.0), scale).max() == 1


def test_a_constant_map_shows_nothing() -> None:
    scale = fit_cam_scale(np.ones((5, 4, 4)))
    assert scale == CamScale(1.0, 0.0)
    assert not relative_contribution(np.full((4, 4), 9.0), scale).any()


def test_opacity_follows_the_operating_point() -> None:
    assert opacity(0.5, 0.4) == 1.0
    assert opacity(0.2, 0.4) == pytest.approx(0.5)
    assert opacity(0.09, 0.4) == 0.0
    assert 0 < opacity(0.9, None) < 1


def test_colours_rise_in_brightness_and_alpha() -> None:
    table = colour_table().astype(int)
    luminance = table[:, :3] @ [2126, 7152, 722]
    assert (np.diff(luminance) > -20_000).all()
    assert luminance[-1] > 2_000_000 > luminance[64] > luminance[0]
    assert table[0, 3] == 0
    assert table[-1, 3] == 255
    assert colour_table(0.0)[:, 3].max() == 0


def test_the_heatmap_lies_on_the_image() -> None:
    cam = np.zeros((8, 8), np.float32)
    cam[6, 1] = 4.0
    geometry = Geometry.of(400, 640, InputSpace(256))
    overlay = heatmap_rgba(cam, CamScale(0.0, 4.0), 1.0, geometry)
    assert overlay.shape == (400, 640, 4)
    y, x = np.unravel_index(int(overlay[..., 3].argmax()), (400, 640))
    assert (abs(y - 325), abs(x - 120)) < (26, 41)
    assert overlay[:150].max(axis=(0, 1))[3] == 0
    assert heatmap_rgba(cam, CamScale(0.0, 4.0), 1.0, geometry, 100, 160).shape == (100, 160, 4)


def test_the_zone_names_the_patients_side() -> None:
    cam = np.zeros((7, 7))
    cam[6, 0] = 1
    assert zone(cam, CamScale(0, 1)) == "patient's right, lower zone"
    assert zone(np.zeros((7, 7)), CamScale(0, 1)) is None
    assert zone(np.ones((7, 7)), CamScale(0, 0)) is None


def test_what_lies_outside_the_thorax_has_no_zone_and_no_colour() -> None:
    inside = np.zeros((8, 8))
    inside[2:6, 1:7] = 1
    cam = np.zeros((8, 8), np.float32)
    cam[0, 0], cam[4, 5] = 3.0, 1.0
    scale, geometry = CamScale(0.0, 3.0), Geometry.of(80, 80, InputSpace(80))
    assert outside_thorax(cam, scale, inside).peak
    assert outside_thorax(cam, scale, inside).share == pytest.approx(0.75)
    assert zone(cam, scale) == "patient's right, upper zone"
    assert zone(cam, scale, inside) == OUTSIDE
    overlay = heatmap_rgba(cam, scale, 1.0, geometry, inside=inside)
    assert overlay[:10, :10, 3].max() == 0 < heatmap_rgba(cam, scale, 1.0, geometry)[5, 5, 3]
    assert overlay[45, 55, 3] > 0
    cam[0, 0] = 0.0
    assert zone(cam, scale, inside) == "patient's left, middle zone"
    assert outside_thorax(np.zeros((8, 8)), scale, inside).share == 0.0
