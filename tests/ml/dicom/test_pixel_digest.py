"""Tests of the digest of stored pixel values, which does not depend on the transfer syntax."""

import numpy as np
import pytest

from ml.dicom.pixel_digest import pixel_digest
from ml.errors import InputRejected
from tests.ml import samples


def colour() -> np.ndarray:
    return np.dstack([samples.chest(24, 30, 8), samples.chest(24, 30, 8)[::-1], samples.chest(24, 30, 8) // 2]).astype(
        "u1"
    )


@pytest.mark.parametrize("syntax", samples.LOSSLESS)
def test_every_lossless_syntax_gives_the_same_digest(syntax: str) -> None:
    for frames in (1, 3):
        assert pixel_digest(samples.image_file(samples.chest(), syntax, frames)) == pixel_digest(
            samples.image_file(samples.chest(), frames=frames)
        )
    narrow = samples.chest(bits=8).astype(np.uint8)
    assert pixel_digest(samples.image_file(narrow, syntax)) == pixel_digest(samples.image_file(narrow))


@pytest.mark.parametrize("syntax", [*samples.NATIVE, samples.RLE, samples.JPEG_LS, samples.JPEG_2000])
def test_colour_gives_the_same_digest(syntax: str) -> None:
    planar = samples.image_file(
        np.ascontiguousarray(colour().transpose(2, 0, 1)).reshape(24, 30, 3), PlanarConfiguration=1
    )
    assert (
        pixel_digest(samples.image_file(colour(), syntax))
        == pixel_digest(samples.image_file(colour()))
        == pixel_digest(planar)
    )


def test_another_value_or_frame_gives_another_digest() -> None:
    first = samples.chest()
    second = first.copy()
    second[40, 40] ^= 1
    digests = {
        pixel_digest(samples.image_file(first)),
        pixel_digest(samples.image_file(second)),
        pixel_digest(samples.image_file(first, frames=2)),
        pixel_digest(samples.image_file(first, PixelRepresentation=1)),
        pixel_digest(samples.image_file(first.T.copy())),
    }
    assert len(digests) == 5


def test_bits_outside_bits_stored_do_not_count_and_the_display_does_not_either() -> None:
    plain = pixel_digest(samples.image_file(samples.chest()))
    assert pixel_digest(samples.image_file(samples.chest() | 0x7000)) == plain
    assert pixel_digest(samples.image_file(samples.chest() << 4 | 3, HighBit=15)) == plain
    assert pixel_digest(samples.image_file(samples.chest(), WindowCenter=5, WindowWidth=9, RescaleSlope=-2)) == plain


def test_a_picture_has_no_stored_values() -> None:
    with pytest.raises(InputRejected, match="format-not-recognised"):
        pixel_digest(b"\x89PNG\r\n\x1a\n" + b"\0" * 200)
