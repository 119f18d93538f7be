"""Data sets for training and evaluation: tables, splits, boxes and the image cache.

Two layouts are read. NIH ChestX-ray14: `images/*.png` or `images_001/images/*.png` ..., `Data_Entry_2017.csv` (or
`Data_Entry_2017_v2020.csv`, either gzipped), `train_val_list.txt`, `test_list.txt`, and optionally
`BBox_List_2017.csv`. Own images: a folder with a `labels.csv` (`ml.data.own`).
"""

from ml.data.boxes import Box, read_boxes
from ml.data.image_cache import cached_images
from ml.data.overview import age_range, describe, summary
from ml.data.records import DatasetInvalid, ImageRecord, Split, targets
from ml.data.splits import (
    carve,
    check_disjoint,
    data_sha256,
    evaluation_images,
    list_sha256,
    official_split,
    patient_folds,
    read_split,
)
from ml.data.tables import find_images, find_table, read_list, read_table

__all__ = [
    "Box",
    "DatasetInvalid",
    "ImageRecord",
    "Split",
    "age_range",
    "cached_images",
    "carve",
    "check_disjoint",
    "data_sha256",
    "describe",
    "evaluation_images",
    "find_images",
    "find_table",
    "list_sha256",
    "official_split",
    "patient_folds",
    "read_boxes",
    "read_list",
    "read_split",
    "read_table",
    "summary",
    "targets",
]
