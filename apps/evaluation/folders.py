"""The folders of films that an operator can choose as an evaluation set: those on the server, and uploaded ones."""

import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from apps.core.errors import InvalidInputError
from apps.evaluation.models import EvaluationSet
from apps.registry import engine

MOST_FOLDERS = 100
SECONDS = 5.0
"""After so long the list shows the remaining folders unchecked: a large data set takes seconds."""
_UNPACKED = ".unpacking-"
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Folder:
    """A folder that can be chosen.

    Attributes:
        name: relative to the place where it was found; the form sends it.
        check: what it holds; None where it was not checked.
        used_by: names of the evaluation sets of its films.
    """

    name: str
    path: Path
    check: engine.FolderCheck | None
    used_by: str


def places() -> list[Path]:
    """Where folders are looked for, as this process and the jobs worker see them."""
    return [settings.EVALUATION_FOLDERS, settings.EVALUATION_UPLOADS]


def evaluation_folders() -> list[Folder]:
    """The folders in each place, checked."""
    sets: dict[str, list[str]] = {}
    for each in EvaluationSet.objects.all():
        sets.setdefault(each.folder, []).append(each.name)
    deadline = time.monotonic() + SECONDS
    return [
        Folder(
            name,
            path,
            engine.check_folder(path) if time.monotonic() < deadline else None,
            ", ".join(sets.get(str(path.resolve()), [])),
        )
        for name, path in _found()
    ]


def folder_choices() -> list[tuple[str, str]]:
    return [(name, name) for name, _ in _found()]


def _found() -> Iterator[tuple[str, Path]]:
    known = set[str]()
    for place in places():
        folders = sorted(path for path in place.glob("*") if path.is_dir() and not path.name.startswith("."))
        for path in folders[:MOST_FOLDERS]:
            name = path.name if path.name not in known else f"{path.name} (uploaded)"
            known.add(name)
            yield name, path


def require_folder(name: str, split: str) -> tuple[str, str]:
    """The absolute paths of a folder that can be evaluated, and of a list of films in it (empty: none was named).

    Raises:
        InvalidInputError: there is no such folder, or something is wrong with it; the detail has a line for each fault.
    """
    path = dict(_found()).get(name)
    if path is None:
        raise InvalidInputError(f"There is no folder {name!r} any more: reload the page.", "evaluation-set-refused")
    file = (path / split).resolve() if split else None
    if file is not None and not file.is_relative_to(path.resolve()):
        raise InvalidInputError("The list of films must be a file in the folder.", "evaluation-set-refused")
    require_usable(engine.check_folder(path, file))
    return str(path.resolve()), str(file) if file else ""


def require_usable(check: engine.FolderCheck) -> None:
    """Raise InvalidInputError where something is wrong with a folder, with a line for each fault."""
    if check.problems:
        more = [f"… and {check.more} more."] if check.more else []
        raise InvalidInputError("\n".join([*check.problems, *more]), "evaluation-set-refused")


def empty_upload_folder() -> Path:
    """A new folder beside the uploaded ones, which no list shows; what killed processes left is removed."""
    settings.EVALUATION_UPLOADS.mkdir(parents=True, exist_ok=True)
    for left in settings.EVALUATION_UPLOADS.glob(f"{_UNPACKED}*"):
        if left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    folder: Path = settings.EVALUATION_UPLOADS / f"{_UNPACKED}{uuid.uuid4().hex}"
    folder.mkdir(mode=0o700)
    return folder


def root_of(folder: Path) -> Path:
    """The folder with the tables: the only folder in it, where an archive was made of a whole folder."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
