"""Checks whether a folder can be evaluated, and lists everything that is wrong with it, line by line."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ml.data.folder import find_layout, images_present, read_records
from ml.data.layouts.own import TABLES, own_problems
from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.splits import evaluation_images
from ml.data.tables import first_file, read_list
from ml.labels import LABELS


@dataclass(frozen=True)
class FolderCheck:
    """What a folder holds for an evaluation.

    Attributes:
        layout: title of the recognised layout; empty where none is.
        films: number of images on its list.
        patients: number of their patients.
        labelled: number of images of which at least one label is known.
        problems: what is wrong, with table and line; empty where the folder can be evaluated.
        more: number of problems that are not listed.
    """

    layout: str = ""
    films: int = 0
    patients: int = 0
    labelled: int = 0
    problems: tuple[str, ...] = ()
    more: int = 0


def check_folder(root: Path, split: Path | None = None, *, most: int = 20) -> FolderCheck:
    """Read a folder's tables, and look for the images of its list. It opens no image.

    Args:
        split: a file of image names; None takes the images that the folder keeps for evaluation.
        most: so many problems are listed.
    """
    try:
        layout = find_layout(root)
        table = first_file(root, TABLES) if layout.kind == "own" else None
        faults = own_problems(table) if table else iter(())
        if listed := tuple(islice(faults, most)):
            return FolderCheck(layout.title, problems=listed, more=sum(1 for _ in faults))
        records = read_records(root)
        names = read_list(split, records) if split else evaluation_images(root, records)
        present = images_present(root, names)
    except (DatasetInvalid, OSError) as error:
        return FolderCheck(problems=(str(error),))
    rows = [records[name] for name in names]
    problems = [f"{_line(row)}: {row.image} is not {layout.place}." for row in rows if row.image not in present]
    return FolderCheck(
        layout.title,
        films=len(rows),
        patients=len({row.patient for row in rows}),
        labelled=sum(len(row.unknown) < len(LABELS) for row in rows),
        problems=tuple(problems[:most]),
        more=max(0, len(problems) - most),
    )


def _line(row: ImageRecord) -> str:
    return f"{row.table} line {row.line}"
