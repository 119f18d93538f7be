"""Reads ZIP archives of images. Each file is streamed into the spool under a name of ours; its own path is not used."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.utils.translation import gettext

from apps.core.errors import ChecxrayError, InvalidInputError, TooLargeError
from apps.studies.spool import Spool, SpooledFile

MAX_MEMBERS = 1000
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
# Deflate reaches 1032:1 on zeros; a folder of X-ray images, black borders included, stays far below this ratio.
MAX_RATIO = 200
RATIO_GRACE_BYTES = 64 * 1024 * 1024
LONGEST_NAME = 120

_CHUNK = 256 * 1024
_SIGNATURE = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_LONGEST_COMMENT = 65535
ENCRYPTED = 0x1


@dataclass(frozen=True)
class ArchiveMember:
    """One file of an archive: spooled, or refused with the reason."""

    name: str
    spooled: SpooledFile | None
    error: ChecxrayError | None = None


def is_archive(path: Path) -> bool:
    """Whether the file is a ZIP. A DICOM file is never one, whatever its preamble says (PS3.10 7.1)."""
    with path.open("rb") as file:
        head = file.read(132)
    return head.startswith((_SIGNATURE, _END_SIGNATURE)) and head[128:132] != b"DICM"


def display_name(name: str) -> str:
    """The last part of a sender's file name, harmless to show; it is never used as a path."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[:LONGEST_NAME] or "unnamed"


def read_archive(path: Path, spool: Spool) -> Iterator[ArchiveMember]:
    """The archive's files. Each is spooled, and removed again when the caller takes the next one.

    Skipped are folders, hidden files, and files that operating systems and DICOM media add.

    Raises:
        InvalidInputError, TooLargeError: the archive as a whole is refused.
    """
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _members(archive, path.stat().st_size, spool)
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise InvalidInputError(gettext("The ZIP archive is damaged: pack it again."), "archive-damaged") from error


def check_directory(path: Path, most: int = MAX_MEMBERS) -> None:
    """Bound the central directory before ``zipfile`` reads all of it (APPNOTE 4.3.16).

    Raises:
        InvalidInputError, TooLargeError: it is damaged, or names more than ``most`` files.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END.size - _LONGEST_COMMENT - _ZIP64_LOCATOR_BYTES))
        tail = file.read()
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise InvalidInputError(gettext("The ZIP archive is damaged: pack it again."), "archive-damaged")
    _, _, _, _, count, directory_bytes, _, _ = _END.unpack_from(tail, at)
    if tail[max(0, at - _ZIP64_LOCATOR_BYTES) :].startswith(_ZIP64_LOCATOR):
        raise InvalidInputError(
            gettext("ZIP64 archives are not taken: pack smaller archives."), "archive-not-supported"
        )
    if count > most or directory_bytes > MAX_DIRECTORY_BYTES:
        raise TooLargeError(
            gettext("A ZIP may hold %(most)d files at most: split it.") % {"most": most}, "archive-too-many-files"
        )


def _members(archive: zipfile.ZipFile, archive_size: int, spool: Spool) -> Iterator[ArchiveMember]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise TooLargeError(
            gettext("A ZIP may hold %(most)d files at most: split it.") % {"most": MAX_MEMBERS},
            "archive-too-many-files",
        )
    budget = Budget(archive_size)
    for info in infos:
        if is_skipped(info):
            continue
        member = _read(archive, info, spool, budget)
        yield member
        if member.spooled is not None:
            member.spooled.path.unlink(missing_ok=True)


class Budget:
    """The number of bytes that may still be unpacked: counted while they are read, since headers can be wrong."""

    def __init__(self, archive_size: int) -> None:
        self.left = min(settings.MAX_UPLOAD_BYTES, RATIO_GRACE_BYTES + MAX_RATIO * archive_size)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise TooLargeError(
                gettext("The ZIP unpacks to more than is allowed. Send fewer images at once."),
                "archive-unpacks-too-large",
            )


def is_skipped(info: zipfile.ZipInfo) -> bool:
    """Whether it is a folder, a link, or a file that operating systems and DICOM media add."""
    parts = PurePosixPath(info.filename.replace("\\", "/")).parts
    if info.is_dir() or not parts or stat.S_ISLNK(info.external_attr >> 16):
        return True
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1].upper() in ("DICOMDIR", "THUMBS.DB")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, spool: Spool, budget: Budget) -> ArchiveMember:
    name = display_name(info.filename)
    if info.flag_bits & ENCRYPTED:
        return _refused(name, gettext("The file is encrypted: pack it without a password."), "encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return _refused(
            name, gettext("Pack the ZIP with the usual compression (Deflate)."), "compression-not-supported"
        )
    writer = spool.open()
    try:
        with archive.open(info) as content:
            while chunk := content.read(_CHUNK):
                budget.spend(len(chunk))
                writer.write(chunk)
        spooled = writer.close()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return _refused(name, gettext("This file is damaged inside the ZIP."), "archive-damaged")
    except TooLargeError as error:
        if error.code != "instance-too-large":
            raise
        return ArchiveMember(name, None, error)
    finally:
        writer.abandon()
    if is_archive(spooled.path):
        spooled.path.unlink(missing_ok=True)
        return _refused(name, gettext("A ZIP inside a ZIP is not opened: send it by itself."), "archive-in-archive")
    return ArchiveMember(name, spooled)


def _refused(name: str, detail: str, code: str) -> ArchiveMember:
    return ArchiveMember(name, None, InvalidInputError(detail, code))
