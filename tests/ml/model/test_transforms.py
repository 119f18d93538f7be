import sys
from subprocess import run

import numpy as np
import pytest
from PIL import Image

from ml.model.transforms import FITS, Geometry, InputSpace, map_back, normalise, preprocess, to_square


def test_stretch_is_area_averaging() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32 * 3, 32 * 5), dtype=np.uint8)
    expected = pixels.reshape(32, 3, 32, 5).mean(axis=(1, 3))
    # Two passes in 8 bits may round twice.
    assert np.abs(to_square(pixels, InputSpace(32)).astype(float) - expected).max() <= 1.01


def test_enlarging_does_not_repeat_blocks() -> None:
    ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (40, 1))
    steps = np.diff(to_square(ramp, InputSpace(160)).astype(int)[80, 8:-8])
    assert steps.max() <= 3


def test_same_size_is_untouched() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    assert np.array_equal(to_square(pixels, InputSpace(64)), pixels)


def test_crop_keeps_the_middle() -> None:
    pixels = np.zeros((64, 128), np.uint8)
    pixels[:, 32:96] = 200
    assert (to_square(pixels, InputSpace(64, fit="crop")) == 200).all()


def test_square_cuts_before_it_resizes() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (101, 64), dtype=np.uint8)
    # The same rows as in TorchXRayVision: from rows // 2 - side // 2.
    assert np.array_equal(to_square(pixels, InputSpace(64, fit="square")), pixels[18:82])
    geometry = Geometry.of(101, 64, InputSpace(32, fit="square"))
    assert (geometry.scale_y, geometry.scale_x, geometry.offset_y, geometry.offset_x) == (0.5, 0.5, 9.0, 0.0)


@pytest.mark.parametrize(("side", "size"), [(700, 224), (230, 224), (1001, 512)])
def test_gaussian_equals_scikit_image(side: int, size: int) -> None:
    from skimage.transform import resize

    picture = np.random.default_rng(3).integers(0, 256, (side, side), dtype=np.uint8)
    expected = resize(picture.astype(np.float32) - 127.5, (size, size), mode="constant", preserve_range=True) + 127.5
    assert np.abs(to_square(picture, InputSpace(size, resize="gaussian")) - expected).max() <= 0.501


def test_gaussian_enlarges_without_a_dark_edge() -> None:
    flat = np.full((40, 40), 200, np.uint8)
    assert (to_square(flat, InputSpace(64, resize="gaussian")) == 200).all()


def test_bilinear_equals_pillow() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (300, 200), dtype=np.uint8)
    expected = Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(to_square(picture, InputSpace(64, resize="bilinear")), np.asarray(expected))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_invalid_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 image"):
        to_square(bad, InputSpace(32))


def test_preprocess_matches_its_definition() -> None:
    space = InputSpace(32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    pixels = np.full((32, 32), 51, np.uint8)
    result = preprocess(pixels, space)
    assert result.shape == (3, 32, 32)
    assert result.dtype == np.float32
    assert result[:, 0, 0] == pytest.approx([0.1 / 0.4, 0.0, -0.1 / 0.6], abs=1e-6)
    assert np.array_equal(normalise(pixels[None], space)[0], result)


def test_input_space_round_trip_and_refusals() -> None:
    space = InputSpace(224, fit="crop")
    assert InputSpace.from_dict(space.to_dict()) == space
    for change in (
        {"size": 4},
        {"fit": "squash"},
        {"resize": "nearest"},
        {"std": [0, 1, 1]},
        {"mean": [1, 2]},
        {"colour": 1},
        {"channels": 1},
    ):
        with pytest.raises(ValueError):
            InputSpace.from_dict({**space.to_dict(), **change})


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(2000, 1500), (900, 1300), (64, 64)])
def test_map_back_puts_a_cell_where_it_came_from(fit: str, shape: tuple[int, int]) -> None:
    space = InputSpace(256, fit=fit)  # type: ignore[arg-type]
    rows, columns = shape
    geometry = Geometry.of(rows, columns, space)
    for y, x in ((0.3, 0.4), (0.6, 0.55)):
        picture = np.zeros(shape, np.uint8)
        top, left = int(y * rows), int(x * columns)
        picture[top - rows // 50 : top + rows // 50 + 1, left - columns // 50 : left + columns // 50 + 1] = 255
        square = to_square(picture, space)
        grid = square.reshape(16, 16, 16, 16).mean(axis=(1, 3))
        back = map_back(grid, geometry)
        assert back.shape == shape
        py, px = np.unravel_index(int(back.argmax()), back.shape)
        cell = max(rows, columns) / 16 if fit == "stretch" else min(rows, columns) / 16
        assert abs(py - top) <= cell
        assert abs(px - left) <= cell


def test_map_back_of_a_linear_grid_is_exact_inside() -> None:
    geometry = Geometry.of(100, 300, InputSpace(64))
    grid = np.tile((np.arange(8) + 0.5) / 8, (8, 1))
    back = map_back(grid, geometry)
    expected = (np.arange(300) + 0.5) / 300
    assert np.abs(back[50] - expected)[20:-20].max() < 1e-6


def test_the_map_is_zero_outside_a_crop() -> None:
    back = map_back(np.ones((4, 4)), Geometry.of(100, 200, InputSpace(64, fit="crop")))
    assert back[:, :49].max() == 0
    assert back[:, 51:149].min() == pytest.approx(1)
    assert back[:, 151:].max() == 0


def test_a_thumbnail_agrees_with_the_full_size() -> None:
    grid = np.random.default_rng(2).normal(size=(7, 7))
    geometry = Geometry.of(400, 400, InputSpace(224))
    fine = map_back(grid, geometry).reshape(100, 4, 100, 4).mean(axis=(1, 3))
    assert np.abs(fine - map_back(grid, geometry, 100, 100)).max() < 0.05


def test_serving_modules_do_not_import_torch() -> None:
    modules = "ml.model.artifact, ml.model.input_check, ml.model.predictor, ml.model.saliency, ml.metrics, ml.data"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'onnxruntime' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
