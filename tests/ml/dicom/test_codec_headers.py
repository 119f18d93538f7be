import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from ml.dicom.codec_headers import check_rle, join, jp2_codestream_at, read_codestream, read_jpeg_file, split_frames
from ml.dicom.parser import DicomIndex
from ml.dicom.preflight import inspect
from ml.errors import InputRejected
from tests.ml import samples

SIZED = (
    samples.JPEG_EXTENDED,
    samples.JPEG_LOSSLESS,
    samples.JPEG_LOSSLESS_SV1,
    samples.JPEG_LS,
    samples.JPEG_2000,
    samples.HTJ2K,
)


def code(data: bytes, syntax: str) -> str:
    with pytest.raises(InputRejected) as refused:
        read_codestream(data, syntax)
    return refused.value.code


@pytest.mark.parametrize("syntax", SIZED)
def test_the_header_describes_what_was_encoded(syntax: str) -> None:
    found = read_codestream(samples.encode(samples.chest(30, 50), syntax, 12), syntax)
    assert (found.rows, found.columns, found.components, bool(found.signed)) == (30, 50, 1, False)
    # Two of the encoders write the bit depth of their container.
    assert found.bits == (16 if syntax in (samples.JPEG_LS, samples.HTJ2K) else 12)


def test_sign_and_colour_are_recognised() -> None:
    signed = imagecodecs.jpeg2k_encode((samples.chest(20, 20).astype(np.int16) - 2000), level=0, codecformat="j2k")
    assert read_codestream(bytes(signed), samples.JPEG_2000).signed
    colour = np.dstack([samples.chest(20, 20, 8).astype(np.uint8)] * 3)
    assert read_codestream(samples.encode(colour, samples.JPEG_BASELINE, 8), samples.JPEG_BASELINE).components == 3


@pytest.mark.parametrize("syntax", SIZED)
def test_a_header_truncated_anywhere_is_refused(syntax: str) -> None:
    whole = samples.encode(samples.chest(30, 50), syntax, 12)
    header = next(n for n in range(len(whole)) if _reads(whole[:n], syntax))
    for length in range(header):
        assert code(whole[:length], syntax) == "codestream-invalid"


def _reads(data: bytes, syntax: str) -> bool:
    try:
        return read_codestream(data, syntax).rows == 30
    except InputRejected:
        return False


def test_a_stream_of_another_process_is_refused() -> None:
    lossless = samples.encode(samples.chest(30, 50), samples.JPEG_LS, 12)
    assert code(lossless, samples.JPEG_BASELINE) == "codestream-invalid"
    assert code(lossless, samples.JPEG_2000) == "codestream-invalid"
    assert code(samples.encode(samples.chest(30, 50), samples.JPEG_2000, 12), samples.JPEG_LS) == "codestream-invalid"


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (8, struct.pack(">I", 0)),
        (16, struct.pack(">I", 1 << 31)),
        (24, struct.pack(">II", 1, 1)),
        (24, struct.pack(">I", 0)),
        (40, struct.pack(">H", 16_384)),
        (43, b"\x02\x02"),
    ],
)
def test_impossible_jpeg_2000_sizes_are_refused(offset: int, value: bytes) -> None:
    header = bytearray(samples.j2k_header(2000, 2000))
    assert read_codestream(bytes(header), samples.JPEG_2000).rows == 2000
    header[offset : offset + len(value)] = value
    assert code(bytes(header), samples.JPEG_2000) == "codestream-invalid"


def test_jp2_boxes_are_skipped_and_endless_ones_refused() -> None:
    jp2 = bytes(imagecodecs.jpeg2k_encode(samples.chest(30, 50), level=0, codecformat="jp2"))
    assert jp2[jp2_codestream_at(jp2) :].startswith(b"\xff\x4f\xff\x51")
    assert read_codestream(jp2, samples.JPEG_2000).rows == 30
    signature = jp2[:12]
    for boxes in (struct.pack(">I4s", 8, b"free") * 10_000, struct.pack(">I4s", 0, b"free"), b""):
        assert code(signature + boxes, samples.JPEG_2000) == "codestream-invalid"


def test_progressive_jpeg_is_a_file_but_no_transfer_syntax() -> None:
    sof2 = b"\xff\xd8\xff\xc2" + struct.pack(">HBHHB", 11, 8, 30, 50, 1) + b"\1\x11\0"
    assert read_jpeg_file(sof2).columns == 50
    assert code(sof2, samples.JPEG_BASELINE) == "codestream-invalid"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((2, 64, 100), None),
        ((1, 64), "codestream-mismatch"),
        ((0xFFFFFFFF, 64), "codestream-mismatch"),
        ((2, 64, 64), "codestream-invalid"),
        ((2, 64, 5000), "codestream-invalid"),
        ((2, 0, 100), "codestream-invalid"),
    ],
)
def test_rle_headers(header: tuple[int, ...], expected: str | None) -> None:
    head = struct.pack("<16I", *header, *[0] * (16 - len(header)))
    if expected is None:
        check_rle(head, 200, samples=1, bits_allocated=16)
        return
    with pytest.raises(InputRejected) as refused:
        check_rle(head, 200, samples=1, bits_allocated=16)
    assert refused.value.code == expected


def test_fragments_become_frames() -> None:
    index = DicomIndex(b"", samples.JPEG_2000, {}, fragments=[(8, 10), (26, 4), (38, 6)])
    assert split_frames(index, 1) == [[(8, 10), (26, 4), (38, 6)]]
    assert split_frames(index, 3) == [[(8, 10)], [(26, 4)], [(38, 6)]]
    index.offset_table = (0, 30)
    assert split_frames(index, 2) == [[(8, 10), (26, 4)], [(38, 6)]]
    for table in ((), (0, 29), (30, 0), (0, 0), (18, 30), (0, 18, 30)):
        index.offset_table = table
        with pytest.raises(InputRejected):
            split_frames(index, 2)
    assert join(b"0123456789", [(0, 2), (5, 3)]) == b"01567"
    assert join(b"0123456789", [(0, 2), (5, 3)], limit=3) == b"015"


def test_every_frame_is_checked_and_not_only_the_first(tmp_path: Path) -> None:
    good, bad = samples.j2k_header(64, 64), samples.j2k_header(6000, 6000)
    body = samples.image_elements() + samples.element(0x28, 8, "IS", b"2 ") + samples.encapsulated(good, bad)
    path = tmp_path / "film"
    path.write_bytes(samples.part10(body, samples.JPEG_2000))
    with pytest.raises(InputRejected) as refused:
        inspect(path)
    assert refused.value.code == "codestream-mismatch"
