"""The boxes of ChestX-ray14, and the counts of the whole data set."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from ml.data import Box, DatasetInvalid, describe, find_table, read_boxes, read_split, read_table
from ml.data.boxes import read_nih_boxes
from ml.data.overview import PUBLISHED, counts

TABLE = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Sex,View Position\na.png,Mass,1,50,F,PA\n"
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def boxes(root: Path, text: str) -> tuple[Box, ...]:
    (root / "Data_Entry_2017.csv").write_text(TABLE)
    (root / "BBox_List_2017.csv").write_text(text)
    return read_boxes(root, read_table(find_table(root)))


def test_boxes_of_the_whole_data_set(test_data: Path) -> None:
    root = test_data / "nih-official"
    records = read_table(find_table(root))
    found = read_boxes(root, records)
    assert Counter(box.label for box in found) == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123,
        "Pneumonia": 120, "Pneumothorax": 98, "Mass": 85, "Nodule": 79,
    }  # fmt: skip
    assert len({box.image for box in found}) == 880
    # Every box is on a test image, so a random split that trains on one would leak.
    assert {box.image for box in found} <= set(read_split(root, records).test)


def test_boxes_of_the_sample_have_trailing_columns(test_data: Path) -> None:
    root = test_data / "nih-sample"
    found = read_boxes(root, read_table(find_table(root)))
    assert Counter(box.label for box in found)["Pneumonia"] == 39
    assert len(found) == 49
    assert found[0] == Box(
        "00004296_000.png", "Atelectasis", 731.428571428571, 753.100529100529, 119.195767195767, 93.189417989418
    )


def test_a_box_is_scaled_with_its_image(tmp_path: Path) -> None:
    (box,) = boxes(tmp_path, HEADER + "a.png,Infiltrate,512,256,128,64,,,\n\nother.png,Mass,1,1,1,1\n")
    assert (box.label, box.rows, box.columns) == ("Infiltration", 1024, 1024)
    small = box.scaled(256, 512)
    assert (small.x, small.y, small.width, small.height) == (256, 64, 64, 16)
    assert small.scaled(1024, 1024) == box


def test_no_list_means_no_boxes(tmp_path: Path) -> None:
    assert read_boxes(tmp_path, {}) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Image Index,Finding Label,x,y\n", "line 1: not the columns"),
        ("", "line 1: not the columns"),
        (HEADER + "a.png,Fracture,1,1,1,1\n", "line 2: 'Fracture' is no NIH label"),
        (HEADER + "a.png,Mass,1,1\n", "line 2: 4 fields only"),
        (HEADER + "a.png,Mass,1,1,x,1\n", "line 2: a coordinate is not a number"),
        (HEADER + "a.png,Mass,1,1,nan,1\n", "line 2: the box is not on the film"),
        (HEADER + "a.png,Mass,1,1000,10,30\n", "line 2: the box is not on the film of 1024 x 1024"),
        (HEADER + "a.png,Mass,1,1,0,30\n", "line 2: the box is not on the film"),
    ],
)
def test_bad_lists_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetInvalid, match=rf"BBox_List_2017\.csv {message}"):
        boxes(tmp_path, text)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    data = bytearray(gzip.compress((HEADER + "a.png,Mass,1,1,10,30\n" * 500).encode()))
    data[30:50] = b"\xff" * 20
    (tmp_path / "BBox_List_2017.csv.gz").write_bytes(data)
    with pytest.raises(DatasetInvalid, match=r"BBox_List_2017\.csv\.gz is not a readable CSV file"):
        read_nih_boxes(tmp_path, {})


def test_the_published_counts_are_those_of_the_table(test_data: Path) -> None:
    records = read_table(find_table(test_data / "nih-official"))
    assert counts(records.values()) == PUBLISHED


def test_the_description_of_tables_without_images(test_data: Path) -> None:
    counted = describe(test_data / "nih-official")
    assert (counted["films"], counted["images_present"], counted["boxes"]) == (112_120, 0, 984)
    parts = counted["split"]["parts"]
    assert {part: (n["films"], n["patients"]) for part, n in parts.items()} == {
        "train": (75_312, 24_342), "validation": (11_212, 3_666), "test": (25_596, 2_797),
    }  # fmt: skip
    assert (counted["split"]["patients_in_two_parts"], counted["split"]["films_in_no_part"]) == (0, 0)
    assert counted["co_occurrence"]["Effusion"]["Effusion"] == 13_317
    assert counted["co_occurrence"]["Effusion"]["Mass"] == counted["co_occurrence"]["Mass"]["Effusion"] == 1_254
