"""Data sets for training and evaluation: tables, splits, boxes and the image cache.

A folder has one of the layouts of `ml.data.layouts`: a public data set as it is distributed, or own images with a
`labels.csv`. `ml.data.folder` recognises which, and every layout gives the same records.
"""

from ml.data.boxes import Box
from ml.data.folder import find_images, find_layout, find_table, read_boxes, read_dataset, read_records, read_table
from ml.data.image_cache import cached_images
from ml.data.layouts import Dataset
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
from ml.data.tables import read_list

__all__ = [
    "Box",
    "Dataset",
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
    "find_layout",
    "find_table",
    "list_sha256",
    "official_split",
    "patient_folds",
    "read_boxes",
    "read_dataset",
    "read_list",
    "read_records",
    "read_split",
    "read_table",
    "summary",
    "targets",
]
