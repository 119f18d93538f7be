import ast
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import errors
from ml.dicom.preflight import inspect, valid_uid
from ml.dicom.source import INFLATE_STEP, MAX_INFLATED_BYTES, inflate
from ml.errors import InputRejected
from ml.sandbox.pool import Sandbox
from tests.ml import samples

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(1, memory_bytes=320 << 20, cpu_seconds=3, wall_seconds=5) as box:
        yield box


def save(folder: Path, data: bytes) -> Path:
    path = folder / "film"
    path.write_bytes(data)
    return path


def code_of(path: Path) -> str | None:
    """None for an accepted file; any other exception than InputRejected fails the test."""
    refused = None
    try:
        inspect(path)
    except InputRejected as caught:
        refused = caught
    assert refused is None or (refused.code in errors.CODES and refused.detail.endswith((".", ")")))
    return refused.code if refused else None


@pytest.mark.parametrize("syntax", [*samples.LOSSLESS, samples.JPEG_EXTENDED])
def test_images_of_a_department_are_described(tmp_path: Path, syntax: str) -> None:
    found = inspect(save(tmp_path, samples.image_file(samples.chest(), syntax, ViewPosition="PA")))
    assert (found.kind, found.rows, found.columns) == ("dicom", 96, 80)
    assert (found.bits_allocated, found.bits_stored, found.number_of_frames) == (16, 12, 1)
    assert (found.transfer_syntax_uid, found.sop_class_uid) == (syntax, samples.DX)
    assert found.study_instance_uid == f"{samples.UID_ROOT}.1"
    assert found.series_instance_uid == f"{samples.UID_ROOT}.2"
    assert found.sop_instance_uid == f"{samples.UID_ROOT}.3"
    assert found.attributes["PatientName"] == "Test^Anna"
    assert found.attributes["ViewPosition"] == "PA"


def test_a_real_chest_radiograph_is_accepted_and_an_mr_image_is_not() -> None:
    folder = samples.data_folder() / "dicom"
    found = inspect(folder / "chest" / "rsna_cr_chest_pa_jpeg_baseline.dcm")
    assert (found.rows, found.columns, found.attributes["Modality"]) == (1024, 1024, "CR")
    assert code_of(folder / "other" / "mr_orthanc_sample.dcm") == "sop-class-not-supported"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"SOPClassUID": samples.CT}, "sop-class-not-supported"),
        ({"SOPClassUID": None}, "uid-missing"),
        ({"StudyInstanceUID": None}, "uid-missing"),
        ({"SeriesInstanceUID": ""}, "uid-missing"),
        ({"Rows": None}, "image-size-invalid"),
        ({"Columns": 0}, "image-size-invalid"),
        ({"Rows": 40_000}, "image-size-invalid"),
        ({"Rows": 16_000, "Columns": 16_000}, "image-size-invalid"),
        ({"Rows": 97}, "pixel-data-short"),
        ({"NumberOfFrames": 2}, "pixel-data-short"),
        ({"NumberOfFrames": 1_000_000}, "too-many-frames"),
        ({"SamplesPerPixel": None}, "pixel-format-not-supported"),
        ({"SamplesPerPixel": 3}, "pixel-format-not-supported"),
        ({"PhotometricInterpretation": "HSV"}, "pixel-format-not-supported"),
        ({"BitsStored": 17}, "pixel-format-not-supported"),
        ({"BitsStored": 0}, "pixel-format-not-supported"),
        ({"HighBit": 16}, "pixel-format-not-supported"),
        ({"PixelRepresentation": 2}, "pixel-format-not-supported"),
    ],
)
def test_a_contradiction_is_refused_with_its_reason(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    assert code_of(save(tmp_path, samples.image_file(samples.chest(), **change))) == code


@pytest.mark.parametrize("bits", [1, 32, 64])
def test_unusual_depths_are_refused(tmp_path: Path, bits: int) -> None:
    body = samples.image_elements(8, 8, bits) + samples.element(0x7FE0, 0x10, "OB", bytes(512))
    assert code_of(save(tmp_path, samples.part10(body))) == "pixel-format-not-supported"


def test_uids_follow_the_standard(tmp_path: Path) -> None:
    for good in ("1.2.840.10008.1.2", "0.0.1", "2.25." + "9" * 59):
        assert valid_uid(good)
    for bad in ("", "1..2", ".1", "1.", "1.02", "1.2a", "1.2 ", "1/2", "../1", "1.2\n", "1." + "9" * 63, "١.٢"):
        assert not valid_uid(bad)
    for bad in (b"1..2", b"1.2.03.4", b"../../etc", b"1." + b"9" * 64, b"1.2\0.3"):
        data = samples.part10(samples.image_elements() + samples.element(0x7FE0, 0x10, "OB", bytes(4096)))
        good = samples.element(0x20, 0x0D, "UI", samples.uid(f"{samples.UID_ROOT}.1"))
        data = data.replace(good, samples.element(0x20, 0x0D, "UI", bad + b"\0" * (len(bad) % 2)))
        assert code_of(save(tmp_path, data)) == "uid-invalid"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "file-empty"),
        (b"PK\3\4 not a film", "format-not-recognised"),
        (bytes(400), "format-not-recognised"),
        (b"\0" * 128 + b"DICM", "file-meta-invalid"),
        (samples.part10(b"", "1.2.840.10008.1.2.4.100"), "transfer-syntax-not-supported"),
        (samples.part10(b"", samples.DEFLATED_LE), "truncated"),
        (samples.part10(b"\xff" * 64, samples.DEFLATED_LE), "deflate-invalid"),
        (samples.part10(samples.element(8, 0x60, "ZZ", b"DX")), "malformed"),
        (samples.part10(samples.element(8, 0x60, "CS", b"DX", 40_000)), "truncated"),
        (samples.part10(samples.element(8, 0x60, "CS", b"DX") * 2), "malformed"),
        (samples.part10(samples.element(0, 2, "UI", b"1.")), "malformed"),
        (samples.part10(samples.element(2, 0x99, "UI", b"1.", 65_000)), "file-meta-invalid"),
        (samples.part10(samples.element(0x7FE0, 0x10, "OB", b"", 0xFFFFFFFF)), "malformed"),
        (samples.part10(samples.element(9, 0x1010, "OB", bytes(17 << 20))), "metadata-too-large"),
        (b"\x89PNG\r\n\x1a\n", "codestream-invalid"),
        (b"\xff\xd8\xff\xe0", "codestream-invalid"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path: Path, data: bytes, code: str) -> None:
    assert code_of(save(tmp_path, data)) == code


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (samples.j2k_bomb, "codestream-mismatch"),
        (samples.deflate_bomb, "inflate-too-large"),
        (samples.items_bomb, "too-many-items"),
        (lambda: samples.items_bomb(vr="UN"), "too-many-items"),
        (lambda: samples.items_bomb(length=0xFFFFFFFF), "too-many-items"),
        (samples.depth_bomb, "too-deep"),
        (samples.elements_bomb, "too-many-elements"),
    ],
)
def test_bombs_are_refused_in_time_and_memory(tmp_path: Path, sandbox: Sandbox, make: Any, code: str) -> None:
    path = save(tmp_path, make())
    start = time.process_time()
    assert code_of(path) == code
    assert time.process_time() - start < 2
    # The child has 320 MiB of address space, of which the interpreter uses a third. More use gives "decode-memory".
    with pytest.raises(InputRejected) as refused:
        sandbox.submit(inspect, path).result(timeout=20)
    assert refused.value.code == code


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    whole = samples.image_file(samples.chest(24, 24), samples.JPEG_LS)
    assert code_of(save(tmp_path, whole)) is None
    for length in range(0, len(whole), 7):
        assert code_of(save(tmp_path, whole[:length])) is not None, length


def test_random_damage_is_refused_or_accepted_and_nothing_else(tmp_path: Path, sandbox: Sandbox) -> None:
    from ml.dicom.radiograph import read_radiograph

    random = np.random.default_rng(20)
    sources = [
        samples.image_file(samples.chest(24, 20), syntax)
        for syntax in (samples.EXPLICIT_LE, samples.RLE, samples.JPEG_2000)
    ]
    outcomes = set()
    for round_ in range(240):
        data = bytearray(sources[round_ % len(sources)])
        for _ in range(random.integers(1, 6)):
            data[random.integers(132, len(data))] = random.integers(0, 256)
        path = save(tmp_path, bytes(data))
        outcomes.add(code_of(path))
        refused = sandbox.submit(read_radiograph, path).exception(timeout=20)
        assert refused is None or (isinstance(refused, InputRejected) and refused.code in errors.CODES)
    assert len(outcomes) > 3


@pytest.mark.parametrize("folder", ["odd", "hostile"])
def test_every_shared_file_is_accepted_or_refused_in_time(folder: str) -> None:
    files = sorted((samples.data_folder() / "dicom" / folder).iterdir())
    slowest, before, codes = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for path in files:
        start = time.process_time()
        codes.append(code_of(path))
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    # Five of the unusual files are segmentations and one is a structured report; they are stored and not read.
    assert codes.count(None) == (35 if folder == "odd" else 0)


def test_the_hostile_corpus_as_cr_reaches_the_deeper_checks(tmp_path: Path) -> None:
    """The corpus has CT objects. As CR the same bytes pass the check of the SOP class, so that later checks run."""
    codes = set()
    for path in sorted((samples.data_folder() / "dicom" / "hostile").iterdir()):
        data = path.read_bytes().replace(f"{samples.CT}\0".encode(), f"{samples.CR}\0".encode())
        codes.add(code_of(save(tmp_path, data)))
    assert {
        None,
        "uid-invalid",
        "malformed",
        "truncated",
        "too-deep",
        "codestream-mismatch",
        "pixel-data-short",
    } <= codes


def text(group: int, number: int, vr: str, value: bytes) -> bytes:
    return samples.element(group, number, vr, samples.padded(value))


def test_text_is_decoded_cleaned_and_bounded(tmp_path: Path) -> None:
    data = samples.raw_image_file(
        text(8, 5, "CS", b"ISO_IR 192"),
        text(0x10, 0x10, "PN", "Mu\u0308ller^Jo\u0308rg".encode()),
        text(8, 0x80, "LO", "a\u202eb\u0007c\0".encode()),
        text(8, 0x1030, "LO", b"x" * 5000),
        text(8, 8, "CS", b"ORIGINAL\\PRIMARY"),
    )
    found = inspect(save(tmp_path, data))
    assert found.attributes["PatientName"] == "Müller^Jörg"
    assert found.attributes["InstitutionName"] == "abc"
    assert found.attributes["ImageType"] == "ORIGINAL\\PRIMARY"
    assert len(found.attributes["StudyDescription"]) == 1024
    assert any("StudyDescription" in warning.detail for warning in found.warnings)


def test_a_long_run_of_combining_marks_is_fast(tmp_path: Path) -> None:
    marks = ("\u0301\u0323" * 1_000_000).encode()
    path = save(
        tmp_path,
        samples.raw_image_file(text(8, 5, "CS", b"ISO_IR 192"), samples.element(8, 0x1030, "UT", marks)),
    )
    start = time.process_time()
    assert len(inspect(path).attributes["StudyDescription"]) <= 1024
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("charset", "raw", "expected", "exact"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg", True),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859-5"), "Люкceмбypг", True),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东", True),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎", True),
        ("", "Müller".encode("latin-1"), "Müller", False),
        ("", "Müller".encode(), "Müller", False),
        ("ISO_IR 192", "Müller".encode("latin-1"), "Müller", False),
        ("NO SUCH SET", "Müller".encode(), "Müller", False),
        ("ISO_IR 192", b"A\0B\0", "AB", True),
    ],
)
def test_character_sets(tmp_path: Path, charset: str, raw: bytes, expected: str, exact: bool) -> None:
    found = inspect(
        save(tmp_path, samples.raw_image_file(text(8, 5, "CS", charset.encode()), text(0x10, 0x10, "PN", raw)))
    )
    assert found.attributes["PatientName"] == expected
    assert exact is not any(warning.code.startswith("character-set") for warning in found.warnings)


@pytest.mark.parametrize(
    "extra",
    [
        text(0x28, 8, "IS", b"CANARY"),
        text(0x10, 0x10, "PN", b"CANARY\xff\xfe"),
        text(8, 0x1030, "LO", b"CANARY" * 1000),
        text(8, 5, "CS", b"CANARY"),
        text(8, 0x20, "QQ", b"CANARY"),
    ],
)
def test_neither_refusals_nor_warnings_quote_the_file(tmp_path: Path, extra: bytes) -> None:
    path = save(tmp_path, samples.raw_image_file(extra))
    try:
        text_of_warnings = str(inspect(path).warnings)
    except InputRejected as refused:
        text_of_warnings = str(refused) + repr(refused)
    assert text_of_warnings
    assert "CANARY" not in text_of_warnings


def test_png_and_jpeg_are_sized_by_their_headers(tmp_path: Path) -> None:
    import imagecodecs

    picture = samples.chest(40, 30, 8).astype(np.uint8)
    png = inspect(save(tmp_path, bytes(imagecodecs.png_encode(picture))))
    assert (png.kind, png.rows, png.columns, png.bits_stored, png.sop_class_uid) == ("png", 40, 30, 8, "")
    jpeg = inspect(save(tmp_path, bytes(imagecodecs.jpeg8_encode(picture))))
    assert (jpeg.kind, jpeg.rows, jpeg.columns, jpeg.bits_stored) == ("jpeg", 40, 30, 8)
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    bomb = header + zlib.crc32(header[12:]).to_bytes(4, "big")
    assert code_of(save(tmp_path, bomb)) == "image-size-invalid"


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised = set()
    for path in (ROOT / "ml").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputRejected":
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant):
                    raised.add(first.value)
    assert raised <= set(errors.CODES)
    assert {errors.failure_reason(code) for code in errors.CODES} <= {0x0110, 0x0122, 0xA700, 0xA900, 0xC000, 0xC122}
    assert set(errors.CODES) == raised


def test_reading_files_needs_no_torch() -> None:
    modules = "ml.errors, ml.dicom.preflight, ml.dicom.radiograph, ml.sandbox.pool, ml.model.serving_input"
    check = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
    small = "import sys, ml.dicom.radiograph; assert not {'pydicom', 'imagecodecs', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", small], cwd=ROOT, check=True)


def deflated(data: bytes) -> bytes:
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


@pytest.mark.parametrize("size", [0, 1, INFLATE_STEP - 1, INFLATE_STEP, INFLATE_STEP + 1, MAX_INFLATED_BYTES])
def test_inflating_is_exact_and_notices_truncation(size: int) -> None:
    data = b"\x01" * size
    squeezed = deflated(data)
    assert inflate(b"head" + squeezed, 4)[:] == data
    with pytest.raises(InputRejected) as cut:
        inflate(squeezed[:-1], 0)
    assert cut.value.code == "truncated"
    with pytest.raises(InputRejected) as grown:
        inflate(deflated(bytes(MAX_INFLATED_BYTES + 1)), 0)
    assert grown.value.code == "inflate-too-large"
