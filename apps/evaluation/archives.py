"""Unpacks an uploaded data set: tables, lists and images, each at the path that the archive gives it.

A path that leads out of the folder, a link, a file of another kind or more than the limits refuses the whole archive.
"""

import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from django.conf import settings

from apps.core.errors import InvalidInputError, OutOfSpaceError, TooLargeError
from apps.studies.archives import ENCRYPTED, Budget, check_directory, is_skipped
from apps.studies.disk import is_full, require_free

MOST_FILES = 5000
_CHUNK = 1024 * 1024
_LONGEST_PART = 120
_DEEPEST = 8
# Not .gz: its content could be larger than all limits.
_TABLES = (".csv", ".txt")
_PART = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|]+")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into an empty folder. The caller removes the folder where this raises.

    Raises:
        InvalidInputError, TooLargeError: the archive is refused; the detail names the file.
        OutOfSpaceError: the disk would fall under its floor.
    """
    check_directory(archive, MOST_FILES)
    budget, known = Budget(archive.stat().st_size), set[str]()
    try:
        with zipfile.ZipFile(archive) as members:
            # The end of the archive, which was checked before, can name a smaller number.
            if len(members.infolist()) > MOST_FILES:
                raise TooLargeError(f"A ZIP may hold {MOST_FILES} files at most: split it.", "archive-too-many-files")
            for info in members.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise _refused(info, "it is a link: pack the file itself")
                if is_skipped(info):
                    continue
                path = _path_of(info)
                # Disks of Windows and macOS do not distinguish case, and a later file must not replace another one.
                if str(path).casefold() in known:
                    raise _refused(info, "it is in the archive twice")
                known.add(str(path).casefold())
                _write(members, info, folder / path, budget)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise InvalidInputError("The ZIP archive is damaged: pack it again.", "archive-damaged") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidInputError("The ZIP archive has a file and a folder of one name.", "archive-refused") from error
    except OSError as error:
        if is_full(error):
            raise OutOfSpaceError("The disk of the uploaded data sets is full; nothing was stored.") from error
        raise


def _path_of(info: zipfile.ZipInfo) -> PurePosixPath:
    """The path inside the folder; every part of it is an ordinary name."""
    name = info.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    ordinary = all(_PART.fullmatch(part) and part.strip(". ") and len(part.encode()) <= _LONGEST_PART for part in parts)
    if name.startswith("/") or not ordinary or len(parts) > _DEEPEST:
        raise _refused(info, "its path is not an ordinary path inside the folder")
    return PurePosixPath(*parts)


def _write(members: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, budget: Budget) -> None:
    if info.flag_bits & ENCRYPTED:
        raise _refused(info, "it is encrypted: pack it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(info, "pack it with the usual compression (Deflate)")
    target.parent.mkdir(parents=True, exist_ok=True)
    require_free(target.parent, info.file_size, floor_bytes=settings.OBJECT_FREE_FLOOR_BYTES)
    size = 0
    with members.open(info) as content, target.open("xb") as file:
        while chunk := content.read(_CHUNK):
            if not size and not target.name.lower().endswith(_TABLES) and not _is_image(chunk):
                raise _refused(info, "it is neither a table (.csv, .txt) nor a PNG, JPEG or DICOM file: leave it out")
            size += len(chunk)
            if size > settings.MAX_INSTANCE_BYTES:
                raise TooLargeError(f"{info.filename}: one file may have {settings.MAX_INSTANCE_BYTES // 2**20} MiB.")
            budget.spend(len(chunk))
            file.write(chunk)


def _is_image(head: bytes) -> bool:
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or head[128:132] == b"DICM"


def _refused(info: zipfile.ZipInfo, why: str) -> InvalidInputError:
    name = "".join(letter for letter in info.filename if letter.isprintable())[:_LONGEST_PART]
    return InvalidInputError(f"{name}: {why}.", "archive-refused")
