"""What a layout of a data set is: how its folder is recognised, and how its tables, images and boxes are read."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml.data.boxes import Box, read_nih_boxes
from ml.data.records import ImageRecord
from ml.data.tables import images_by_path


@dataclass(frozen=True)
class Dataset:
    """The tables of a folder as read.

    Attributes:
        records: {image: ImageRecord}.
        left_out: why images of the tables are not among the records (such as "lateral view"), and how many.
    """

    records: dict[str, ImageRecord]
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Layout:
    """One layout. All functions take the folder first.

    Attributes:
        kind: short name; where patient identifiers come from, so that they are compared only with their like.
        title: for messages.
        source: of the data, for manifests and cards.
        truth: where the labels come from, for the limits on a card.
        looked_for: the files and columns by which the layout is recognised.
        find: the main table, or None if the folder has another layout.
        read: all tables; raises DatasetInvalid.
        images: the files of those named images that are present.
        place: where `images` looks.
        boxes: boxes of findings in the images of the records.
        own_split: describes the split that the tables define, where they do.
        patients: a remark on the patients, where the tables name none.
        identifiers: `kind` of the patients in this folder, where it is not always `kind`.
        inside_only: whether an image may not be a link to outside the folder.
    """

    kind: str
    title: str
    source: str
    looked_for: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path], Dataset]
    truth: str = "mined from reports, not read by radiologists"
    images: Callable[[Path, Iterable[str]], dict[str, Path]] = images_by_path
    place: str = "in the folder"
    boxes: Callable[[Path, Mapping[str, ImageRecord]], tuple[Box, ...]] = read_nih_boxes
    own_split: str = ""
    patients: str = ""
    identifiers: Callable[[Path], str] | None = None
    inside_only: bool = False
