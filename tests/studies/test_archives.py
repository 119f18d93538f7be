"""ZIP archives of films: which files are accepted and which are skipped, and the limits."""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import InvalidInputError, TooLargeError
from apps.studies import archives
from apps.studies.spool import Spool, open_spool


@pytest.fixture
def spool() -> Iterator[Spool]:
    with open_spool() as opened:
        yield opened


def packed(tmp_path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "films.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def read(path: Path, spool: Spool) -> list[tuple[str, bytes | str]]:
    found: list[tuple[str, bytes | str]] = []
    for member in archives.read_archive(path, spool):
        if member.spooled is None:
            assert member.error is not None
            found.append((member.name, member.error.code))
        else:
            found.append((member.name, member.spooled.path.read_bytes()))
    return found


def test_every_file_comes_out_and_the_spool_is_empty_afterwards(tmp_path: Path, spool: Spool) -> None:
    path = packed(tmp_path, {"a.dcm": b"one", "deep/er/IM0001": b"two"})
    assert read(path, spool) == [("a.dcm", b"one"), ("IM0001", b"two")]
    assert list(spool.folder.iterdir()) == []


def test_what_systems_and_media_add_is_passed_over(tmp_path: Path, spool: Spool) -> None:
    members = {"folder/": b"", "__MACOSX/._a.dcm": b"x", ".DS_Store": b"x", "DICOMDIR": b"x", "Thumbs.db": b"x"}
    assert read(packed(tmp_path, {**members, "a.dcm": b"film"}), spool) == [("a.dcm", b"film")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\etc\\passwd"])
def test_a_name_is_never_a_path(tmp_path: Path, spool: Spool, name: str) -> None:
    ((shown, data),) = read(packed(tmp_path, {name: b"film"}), spool)
    assert (shown, data) == ("passwd", b"film")


def test_an_archive_in_an_archive_is_refused_alone(tmp_path: Path, spool: Spool) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.dcm", b"film")
    found = read(packed(tmp_path, {"inner.zip": inner.getvalue(), "b.dcm": b"film"}), spool)
    assert found == [("inner.zip", "archive-in-archive"), ("b.dcm", b"film")]


def test_too_many_files(tmp_path: Path, spool: Spool) -> None:
    path = packed(tmp_path, {f"{number}": b"" for number in range(archives.MAX_MEMBERS + 1)})
    with pytest.raises(TooLargeError, match="1000 files"):
        read(path, spool)


def test_a_bomb_stops_at_the_ratio_whatever_its_headers_claim(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_GRACE_BYTES", 1024)
    path = packed(tmp_path, {"bomb": bytes(4 * 1024 * 1024)})
    with pytest.raises(TooLargeError) as refused:
        read(path, spool)
    assert refused.value.code == "archive-unpacks-too-large"
    assert list(spool.folder.iterdir()) != [], "the draft is left to the spool, which removes it"


def test_the_total_is_bounded(tmp_path: Path, spool: Spool, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 1500
    path = packed(tmp_path, {"a": bytes(1000), "b": bytes(1000)}, zipfile.ZIP_STORED)
    with pytest.raises(TooLargeError):
        read(path, spool)


def test_one_film_that_is_too_large_is_refused_alone(tmp_path: Path, spool: Spool, settings: Any) -> None:
    settings.MAX_INSTANCE_BYTES = 1000
    path = packed(tmp_path, {"large": bytes(1001), "small": b"film"})
    assert read(path, spool) == [("large", "instance-too-large"), ("small", b"film")]


def test_a_damaged_member_is_refused_alone(tmp_path: Path, spool: Spool) -> None:
    path = packed(tmp_path, {"a": b"A" * 64, "b": b"film"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"A" * 64, b"A" * 63 + b"B"))
    assert read(path, spool) == [("a", "archive-damaged"), ("b", b"film")]


def test_an_encrypted_member_is_refused_alone(tmp_path: Path, spool: Spool) -> None:
    path = packed(tmp_path, {"a": b"secret"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + offset
        struct.pack_into("<H", data, at, struct.unpack_from("<H", data, at)[0] | 1)
    path.write_bytes(data)
    assert read(path, spool) == [("a", "encrypted")]


def test_a_compression_that_may_need_gigabytes_is_refused(tmp_path: Path, spool: Spool) -> None:
    assert read(packed(tmp_path, {"a": b"film"}, zipfile.ZIP_LZMA), spool) == [("a", "compression-not-supported")]


@pytest.mark.parametrize("data", [b"PK\x03\x04" + bytes(200), b"PK\x05\x06", b"PK\x05\x06" + bytes(17)])
def test_a_damaged_archive(tmp_path: Path, spool: Spool, data: bytes) -> None:
    path = tmp_path / "films.zip"
    path.write_bytes(data)
    assert archives.is_archive(path)
    with pytest.raises(InvalidInputError, match="damaged"):
        read(path, spool)


def test_a_giant_directory_is_refused_before_it_is_read(tmp_path: Path, spool: Spool) -> None:
    path = tmp_path / "films.zip"
    path.write_bytes(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 2**31, 0, 0))
    with pytest.raises(TooLargeError):
        read(path, spool)


def test_zip64_is_refused(tmp_path: Path, spool: Spool) -> None:
    path = tmp_path / "films.zip"
    path.write_bytes(b"PK\x03\x04" + b"PK\x06\x07" + bytes(16) + struct.pack("<4s4H2LH", b"PK\x05\x06", *[0] * 7))
    with pytest.raises(InvalidInputError, match="ZIP64"):
        read(path, spool)


def test_a_dicom_file_is_no_archive_whatever_its_preamble_says(tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(b"PK\x03\x04" + bytes(124) + b"DICM")
    assert not archives.is_archive(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("C:\\films\\a.dcm", "a.dcm"), ("a\x00\n.dcm", "a.dcm"), ("", "unnamed"), ("x" * 500, "x" * 120)],
)
def test_display_name(name: str, shown: str) -> None:
    assert archives.display_name(name) == shown
