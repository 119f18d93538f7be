"""Make DICOM files for tests: ordinary ones with pydicom's writer, hostile ones byte by byte."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
NATIVE = (IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE)
LOSSLESS = (*NATIVE, RLE, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000, HTJ2K)

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
UID_ROOT = "1.2.826.0.1.3680043.10.1561"


def data_folder() -> Path:
    """The folder of the shared test data; the test is skipped where it is missing."""
    folder = Path(os.environ.get("CHECXRAY_TEST_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no test data: set CHECXRAY_TEST_DATA to its folder")
    return folder.resolve()


def chest(rows: int = 96, columns: int = 80, bits: int = 12) -> NDArray[np.uint16]:
    """A smooth image with all grey levels and some noise; stored values use all `bits`."""
    y, x = np.mgrid[:rows, :columns]
    smooth = 0.5 + 0.32 * np.sin(x / columns * 5) * np.cos(y / rows * 4) + 0.15 * x / columns
    noise = np.random.default_rng(7).normal(0, 0.01, (rows, columns))
    return np.rint(np.clip(smooth + noise, 0, 1) * ((1 << bits) - 1)).astype(np.uint16)


def image_file(pixels: NDArray[Any], syntax: str = EXPLICIT_LE, frames: int = 1, **attributes: Any) -> bytes:
    """A DX image with stored values (rows, columns) or (rows, columns, 3), as bytes of a file.

    `attributes` replace those of the data set; None removes one.
    """
    dataset = dataset_of(pixels, frames)
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    allocated = dataset.BitsAllocated
    if syntax in NATIVE:
        order = ">" if syntax == EXPLICIT_BE else "<"
        dataset.PixelData = pixels.astype(f"{order}u{allocated // 8}").tobytes() * frames
        dataset["PixelData"].VR = "OW" if allocated == 16 else "OB"
    else:
        dataset.PixelData = encapsulate([encode(pixels, syntax, dataset.BitsStored)] * frames)
        dataset["PixelData"].VR = "OB"
    return write(dataset, syntax)


def dataset_of(pixels: NDArray[Any], frames: int = 1) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = DX
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = f"{UID_ROOT}.3", f"{UID_ROOT}.1"
    dataset.SeriesInstanceUID = f"{UID_ROOT}.2"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "TEST-1", "Test^Anna", "DX"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = 8 if pixels.dtype.itemsize == 1 else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    return dataset


def encode(pixels: NDArray[Any], syntax: str, bits: int) -> bytes:
    """One frame in a compressed transfer syntax."""
    if syntax == RLE:
        return _rle(pixels)
    if syntax in (JPEG_BASELINE, JPEG_EXTENDED):
        return bytes(imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12 if bits == 12 else 8))
    if syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        predictor = 1 if syntax == JPEG_LOSSLESS_SV1 else 4
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits))
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(pixels))
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=bits))


def _rle(pixels: NDArray[Any]) -> bytes:
    from pydicom.pixels.encoders import RLELosslessEncoder

    samples = 1 if pixels.ndim == 2 else 3
    return RLELosslessEncoder.encode(
        pixels,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        samples_per_pixel=samples,
        number_of_frames=1,
        bits_allocated=8 * pixels.dtype.itemsize,
        bits_stored=8 * pixels.dtype.itemsize,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2" if samples == 1 else "RGB",
        **({} if samples == 1 else {"planar_configuration": 0}),
    )


def write(dataset: Dataset, syntax: str) -> bytes:
    """A data set as bytes of a DICOM Part 10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", DX)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", f"{UID_ROOT}.3")
    out = io.BytesIO()
    dataset.save_as(
        out, enforce_file_format=True, implicit_vr=syntax == IMPLICIT_LE, little_endian=syntax != EXPLICIT_BE
    )
    return out.getvalue()


_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC")


def element(group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One Explicit VR Little Endian element; `length` may be wrong on purpose."""
    code, announced = vr.encode(), len(value) if length is None else length
    if code in _LONG:
        return struct.pack("<HH2sHI", group, number, code, 0, announced) + value
    return struct.pack("<HH2sH", group, number, code, announced) + value


def uid(value: str) -> bytes:
    raw = value.encode()
    return raw + b"\0" * (len(raw) % 2)


def part10(body: bytes, syntax: str = EXPLICIT_LE) -> bytes:
    """A DICOM Part 10 file with the data set `body`."""
    meta = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", uid(DX)) + element(2, 0x10, "UI", uid(syntax))
    return b"\0" * 128 + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + body


def image_elements(rows: int = 64, columns: int = 64, bits: int = 8) -> bytes:
    """The elements before the pixel data that `inspect` needs."""
    us = struct.Struct("<H").pack
    return b"".join(
        (
            element(8, 0x16, "UI", uid(DX)),
            element(8, 0x18, "UI", uid(f"{UID_ROOT}.3")),
            element(0x20, 0x0D, "UI", uid(f"{UID_ROOT}.1")),
            element(0x20, 0x0E, "UI", uid(f"{UID_ROOT}.2")),
            element(0x28, 2, "US", us(1)),
            element(0x28, 4, "CS", b"MONOCHROME2 "),
            element(0x28, 0x10, "US", us(rows)),
            element(0x28, 0x11, "US", us(columns)),
            element(0x28, 0x100, "US", us(bits)),
            element(0x28, 0x101, "US", us(bits)),
            element(0x28, 0x102, "US", us(bits - 1)),
            element(0x28, 0x103, "US", us(0)),
        )
    )


def raw_image_file(*extra: bytes) -> bytes:
    """A valid 64 x 64 image with the elements `extra`."""
    return part10(b"".join(extra) + image_elements() + element(0x7FE0, 0x10, "OB", bytes(4096)))


def padded(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def encapsulated(*fragments: bytes) -> bytes:
    items = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(f)) + f for f in (b"", *fragments))
    return element(0x7FE0, 0x10, "OB", items, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def j2k_header(rows: int, columns: int) -> bytes:
    """A valid JPEG 2000 main header (SIZ, COD, QCD) with one empty tile part and without pixels."""
    siz = struct.pack(">HH8IHBBB", 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1, 7, 1, 1)
    cod = struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    qcd = struct.pack(">HB", 19, 0x40) + bytes([0x40] * 16)
    sot = struct.pack(">HHIBB", 10, 0, 14, 0, 1)
    parts = b"\xff\x51" + siz + b"\xff\x52" + cod + b"\xff\x5c" + qcd + b"\xff\x90" + sot + b"\xff\x93\xff\xd9"
    return b"\xff\x4f" + parts + b"\0" * (len(parts) % 2)


def j2k_bomb(announced: int = 64, real: int = 60_000) -> bytes:
    """About 500 bytes whose SIZ marker has `real` x `real` pixels and whose Rows and Columns are `announced`."""
    return part10(image_elements(announced, announced) + encapsulated(j2k_header(real, real)), JPEG_2000)


def deflate_bomb(megabytes: int = 400) -> bytes:
    """About 400 KB that inflate to `megabytes`, in a private element before all others."""
    squeeze, size = zlib.compressobj(9, wbits=-15), megabytes << 20
    body = [squeeze.compress(struct.pack("<HH2sHI", 9, 0x1010, b"OB", 0, size))]
    body += [squeeze.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return part10(b"".join((*body, squeeze.flush())), DEFLATED_LE)


def items_bomb(count: int = 1_000_000, *, vr: str = "SQ", length: int | None = None) -> bytes:
    """`count` empty items of 8 bytes; with the VR UN a parser must know the tag to recognise the sequence."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if length == 0xFFFFFFFF else b""
    return part10(element(8, 0x1140, vr, items, length) + end)


def depth_bomb(depth: int = 5_000) -> bytes:
    """Sequences in sequences, all of undefined length."""
    open_one = element(8, 0x1140, "SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    close_one = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return part10(open_one * depth + close_one * depth)


def elements_bomb(count: int = 300_000) -> bytes:
    """`count` empty private elements."""
    return part10(b"".join(element(9 + 2 * (i >> 16), i & 0xFFFF, "LO", b"") for i in range(count)))
