from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ml.dicom.radiograph import read_radiograph
from ml.errors import CODES, RETRYABLE, InputRejected
from ml.model.serving_input import LoadedInput, load_input, render_grey
from ml.model.transforms import InputSpace, to_square
from ml.sandbox.pool import Sandbox
from tests.ml import samples

SPACE = InputSpace(size=64)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, cpu_seconds=5, wall_seconds=10) as box:
        yield box


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    path.write_bytes(samples.image_file(samples.chest(120, 90), samples.JPEG_LS))
    return path


def test_serving_and_training_decode_alike(path: Path, sandbox: Sandbox) -> None:
    expected = to_square(read_radiograph(path).pixels, SPACE)
    found: LoadedInput = sandbox.submit(load_input, path, SPACE.to_dict(), [120, 90]).result(timeout=20)
    assert found.tensor_u8.dtype == np.uint8
    assert np.array_equal(found.tensor_u8, expected)
    assert (found.rows, found.columns) == (120, 90)
    held = sandbox.submit(load_input, path.read_bytes(), SPACE.to_dict()).result(timeout=20)
    assert np.array_equal(held.tensor_u8, expected)


@pytest.mark.parametrize(("max_side", "size"), [(60, (45, 60)), (4000, (90, 120)), (1, (1, 1))])
def test_render_shrinks_and_never_enlarges(path: Path, sandbox: Sandbox, max_side: int, size: tuple[int, int]) -> None:
    grey = sandbox.submit(render_grey, path, max_side).result(timeout=20)
    assert (grey.dtype, grey.shape) == (np.uint8, size[::-1])
    if size == (90, 120):
        assert np.array_equal(grey, read_radiograph(path).pixels)


def test_every_shared_file_is_loaded_or_refused_by_one_child(sandbox: Sandbox) -> None:
    sandbox.submit(abs, -1).result(timeout=20)
    before = sandbox.pids()
    loaded = 0
    for folder in ("odd", "hostile"):
        for path in sorted((samples.data_folder() / "dicom" / folder).iterdir()):
            refused = sandbox.submit(load_input, path, SPACE.to_dict()).exception(timeout=20)
            assert refused is None or (isinstance(refused, InputRejected) and refused.code in set(CODES) - RETRYABLE)
            loaded += refused is None
    assert loaded > 200
    assert sandbox.pids() == before, "a file killed the child"


def test_a_bomb_that_agrees_with_its_header_reaches_the_limits(tmp_path: Path, sandbox: Sandbox) -> None:
    """Rows, Columns and SIZ all announce 16,384 x 6,100, and there is no pixel data."""
    rows, columns = 6_100, 16_384
    path = tmp_path / "film"
    stream = samples.encapsulated(samples.j2k_header(rows, columns))
    path.write_bytes(samples.part10(samples.image_elements(rows, columns) + stream, samples.JPEG_2000))
    with pytest.raises(InputRejected) as refused:
        sandbox.submit(load_input, path, SPACE.to_dict()).result(timeout=20)
    assert refused.value.code in ("decode-failed", "decode-memory", "decode-timeout")
