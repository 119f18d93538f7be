"""A folder of a data set: which layout it has, and its records, images and boxes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ml.data.boxes import Box
from ml.data.layouts import LAYOUTS, Dataset, Layout
from ml.data.layouts.nih import read_nih_table
from ml.data.layouts.own import TABLES as OWN_TABLES
from ml.data.layouts.own import read_own_table
from ml.data.records import DatasetInvalid, ImageRecord


def find_layout(root: Path) -> Layout:
    """The layout of a folder, recognised by its tables.

    Raises:
        DatasetInvalid: none is recognised. The message names what was looked for.
    """
    layout = _recognised(root)
    if layout is None:
        raise DatasetInvalid(_not_recognised(root))
    return layout


def _recognised(root: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.find(root)), None)


def _not_recognised(root: Path) -> str:
    what = "this folder has no table of a known data set" if root.is_dir() else "no such folder"
    text = f"{root}: {what}. Looked for {'; '.join(layout.looked_for for layout in LAYOUTS)}."
    inside = sorted(path for path in root.glob("*") if path.is_dir()) if root.is_dir() else []
    hint = next((f" {path} is {layout.title}: give that." for path in inside if (layout := _recognised(path))), "")
    return f"{text}{hint} Put a data set's tables beside its images, as docs/data.md shows."


def find_table(root: Path) -> Path:
    """The main table of a folder. Raises DatasetInvalid where no layout is recognised."""
    table = find_layout(root).find(root)
    assert table is not None
    return table


def read_table(path: Path) -> dict[str, ImageRecord]:
    """Read NIH's table (either release), or a labels.csv, alone. Raises DatasetInvalid."""
    return (read_own_table if path.name.removesuffix(".gz") in OWN_TABLES else read_nih_table)(path)


def read_dataset(root: Path) -> Dataset:
    """Read the tables of a folder of any layout.

    Raises:
        DatasetInvalid: no layout is recognised, or a table is not usable. The message names file and line.
    """
    layout = find_layout(root)
    dataset = layout.read(root)
    if not dataset.records:
        left = ", ".join(f"{count} {reason}" for reason, count in dataset.left_out.items()) or "the tables are empty"
        raise DatasetInvalid(f"{root}: no films are left of {layout.title} ({left}). Copy the tables again.")
    return dataset


def read_records(root: Path) -> dict[str, ImageRecord]:
    """{image: ImageRecord} of a folder of any layout. Raises DatasetInvalid, as `read_dataset`."""
    return read_dataset(root).records


def find_images(root: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the files of all named images.

    Raises:
        DatasetInvalid: files are missing. The message names the first one and its line in the table.
    """
    wanted, layout = list(names), find_layout(root)
    present = _present(root, layout, wanted)
    missing = [name for name in wanted if name not in present]
    if missing:
        first = f"{missing[0]} ({table_line(root, missing[0])})"
        raise DatasetInvalid(
            f"{len(missing)} of {len(wanted)} films are not {layout.place}, first {first}. "
            "Unpack all image archives there."
        )
    return {name: present[name] for name in wanted}


def images_present(root: Path, names: Sequence[str]) -> dict[str, Path]:
    """The files of those images that are present. Raises DatasetInvalid where no layout is recognised."""
    return _present(root, find_layout(root), names)


def _present(root: Path, layout: Layout, names: Sequence[str]) -> dict[str, Path]:
    present, inside = layout.images(root, names), root.resolve()
    if layout.inside_only:
        for name, path in present.items():
            if not path.resolve().is_relative_to(inside):
                raise DatasetInvalid(
                    f"{name} ({table_line(root, name)}) is a link to outside the folder. Copy the file into it."
                )
    return present


def table_line(root: Path, name: str) -> str:
    """Table and line of an image, for messages."""
    record = read_records(root).get(name)
    return f"{record.table} line {record.line}" if record else f"not in {find_table(root).name}"


def read_boxes(root: Path, records: Mapping[str, ImageRecord]) -> tuple[Box, ...]:
    """The boxes of findings in the images of `records`; none if the folder has no boxes.

    Raises:
        DatasetInvalid: the table of boxes is not usable. The message names the line.
    """
    layout = _recognised(root)
    return layout.boxes(root, records) if layout else ()


def source_kind(root: Path) -> str:
    """Where the patient identifiers of a folder come from, such as "nih", or "own" for a labels.csv."""
    layout = find_layout(root)
    return layout.identifiers(root) if layout.identifiers else layout.kind
