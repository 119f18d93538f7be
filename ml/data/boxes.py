"""Read the 984 boxes that radiologists drew on official test images of ChestX-ray14 (`BBox_List_2017.csv`)."""

import csv
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ml.data.records import DatasetInvalid, ImageRecord
from ml.data.tables import open_text
from ml.labels import LABELS

FILES = ("BBox_List_2017.csv", "BBox_List_2017.csv.gz")
SIDE = 1024
"""NIH published every image, and so every box, at 1024 x 1024 pixels."""

_NAMES = {label: label for label in LABELS} | {"Infiltrate": "Infiltration"}
_FIELDS = 6


@dataclass(frozen=True)
class Box:
    """The box of one finding in pixels of an image of `rows` x `columns`; `x`, `y` is its upper left corner."""

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float
    rows: int = SIDE
    columns: int = SIDE

    def scaled(self, rows: int, columns: int) -> "Box":
        """The same box on another raster of the image."""
        down, across = rows / self.rows, columns / self.columns
        return replace(
            self,
            x=self.x * across,
            y=self.y * down,
            width=self.width * across,
            height=self.height * down,
            rows=rows,
            columns=columns,
        )


def read_nih_boxes(root: Path, records: Mapping[str, ImageRecord]) -> tuple[Box, ...]:
    """The boxes of the images in the table; none if the folder has no list of boxes.

    A box whose image is not in the table is left out, because a folder may hold only a part of the data set.

    Raises:
        DatasetInvalid: other columns, an unknown label, or a box outside its image. The message names the line.
    """
    path = next((root / name for name in FILES if (root / name).is_file()), None)
    if path is None:
        return ()
    boxes = []
    try:
        with open_text(path) as stream:
            reader = csv.reader(stream)
            # The heading "Bbox [x,y,w,h]" has commas and no quotes, so it is read as four columns, which is right.
            header = ",".join(next(reader, [])).replace(" ", "").casefold()
            if not header.startswith("imageindex,findinglabel,bbox[x,y,w,h]"):
                raise DatasetInvalid(f"{path.name} line 1: not the columns of NIH's list of boxes. Copy it again.")
            for row in reader:
                if any(row):
                    box = _box(f"{path.name} line {reader.line_num}", row)
                    if box.image in records:
                        boxes.append(box)
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise DatasetInvalid(f"{path.name} is not a readable CSV file: {error}. Copy it again.") from error
    return tuple(boxes)


def _box(where: str, row: list[str]) -> Box:
    if len(row) < _FIELDS:
        raise DatasetInvalid(f"{where}: {len(row)} fields only. The file is cut off; copy it again.")
    label = _NAMES.get(row[1].strip())
    if label is None:
        raise DatasetInvalid(f"{where}: {row[1].strip()!r} is no NIH label. Correct the line.")
    try:
        x, y, width, height = (float(value) for value in row[2:_FIELDS])
    except ValueError:
        raise DatasetInvalid(
            f"{where}: a coordinate is not a number. Write x, y, width and height in pixels."
        ) from None
    if not all(map(math.isfinite, (x, y, width, height))) or not (
        0 <= x < x + width <= SIDE and 0 <= y < y + height <= SIDE
    ):
        raise DatasetInvalid(f"{where}: the box is not on the film of {SIDE} x {SIDE} pixels. Correct the line.")
    return Box(row[0].strip(), label, x, y, width, height)
