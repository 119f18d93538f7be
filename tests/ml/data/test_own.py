"""Tests of a user's own data set with a labels.csv."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data import (
    DatasetInvalid,
    ImageRecord,
    cached_images,
    evaluation_images,
    find_images,
    find_table,
    read_split,
    read_table,
    summary,
    targets,
)
from ml.labels import LABELS
from ml.model.transforms import InputSpace
from tests.ml.samples import chest, image_file


def table(root: Path, text: str) -> dict[str, ImageRecord]:
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_text(text)
    return read_table(find_table(root))


def test_joined_labels(tmp_path: Path) -> None:
    records = table(
        tmp_path,
        "Patient,IMAGE,labels,age,sex,view\np1,a.png,Effusion|pleural thickening,61,f,pa\np2,sub/b.jpg,No Finding,,,\n"
        "p3,./c.dcm,,,M,AP\n",
    )
    assert records["a.png"] == ImageRecord("a.png", "p1", frozenset({"Effusion", "Pleural_Thickening"}), 61, "F", "PA")
    assert [records[n].line for n in records] == [2, 3, 4]
    truth = targets(records, list(records))
    assert truth[0].sum() == 2
    assert truth[1].tolist() == [0.0] * 14
    assert np.isnan(truth[2]).all()
    counted = summary(records, list(records))
    assert counted["unknown"] == dict.fromkeys(LABELS, 1)


def test_a_column_per_label_where_empty_means_unknown(tmp_path: Path) -> None:
    records = table(tmp_path, "image,patient,Mass,effusion\na.png,1,1,0\nb.png,1,,1.0\nc.png,2,0,\n")
    truth = targets(records, ["a.png", "b.png", "c.png"])[:, [LABELS.index(n) for n in ("Mass", "Effusion", "Hernia")]]
    assert np.array_equal(truth, [[1, 0, np.nan], [np.nan, 1, np.nan], [0, np.nan, np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'image'"),
        ("image,labels\n", "line 1: no column 'patient'"),
        ("image;patient;labels\n", "line 1: column 'image;patient;labels' is neither an NIH label"),
        ("image,patient\n", "line 1: the truth must stand either"),
        ("image,patient,labels,Mass\n", "and not in both"),
        ("image,patient,Efusion\n", r"column 'Efusion' is neither .* Is it 'Effusion'\? Rename or remove it"),
        ("image,patient,Mass,mass\n", "column 'Mass' appears twice"),
        ("image,patient,labels\n", "has no films"),
        ("image,patient,labels\na.png,1\n", "line 2: 2 fields only"),
        ("image,patient,labels\na.png,1,Fracture\n", "line 2: 'Fracture' is no NIH label"),
        ("image,patient,labels\na.png,1,Mass|nodul\n", r"line 2: 'nodul' is no NIH label. Is it 'Nodule'\?"),
        ("image,patient,labels\na.png,1,Mass|No Finding\n", "line 2: 'No Finding' stands beside a finding"),
        ("image,patient,labels\na.png,,Mass\n", "line 2: patient is empty"),
        ("image,patient,labels\n\n../a.png,1,Mass\n", "line 3: image '../a.png' is not a path inside the folder"),
        ("image,patient,labels\n/etc/a.png,1,Mass\n", "not a path inside the folder"),
        ("image,patient,labels\nsub\\a.png,1,Mass\n", "with '/'"),
        ("image,patient,labels\n,1,Mass\n", "not a path inside the folder"),
        ("image,patient,labels\na.png,1,Mass\n./a.png,2,Mass\n", "line 3: a.png appears twice, first on line 2"),
        ("image,patient,Mass\na.png,1,-1\n", "line 2: Mass is '-1'. Write 0 or 1, or leave the cell empty"),
        ("image,patient,Mass,split\na.png,1,1,val\n", "line 2: split is 'val'. Write train or validation or test"),
        ("image,patient,Mass,split\na.png,1,1,\n", "line 2: split is ''"),
        ("image,patient,Mass,age\na.png,1,1,060Y\n", "line 2: age is '060Y'. Write whole years"),
        ("image,patient,Mass,sex\na.png,1,1,w\n", "line 2: sex is 'w'. Write M or F, or leave"),
    ],
)
def test_bad_tables_name_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetInvalid, match=f"labels.csv.*{message}"):
        table(tmp_path, text)


def rows(patients: int, extra: str = "") -> str:
    lines = [f"p{n}-{i}.png,p{n},Mass{extra}" for n in range(patients) for i in range(2)]
    return "image,patient,labels" + (",split" if extra else "") + "\n" + "\n".join(lines) + "\n"


def test_without_a_split_column_patients_are_divided_by_hash(tmp_path: Path) -> None:
    records = table(tmp_path, rows(200))
    split = read_split(tmp_path, records)
    parts = (split.train, split.validation, split.test)
    assert sum(map(len, parts)) == 400
    assert 0.12 < len(split.test) / 400 < 0.28
    patients = [{records[name].patient for name in part} for part in parts]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 200
    # New images and another seed never move an image into or out of the test set.
    assert evaluation_images(tmp_path, records) == split.test
    more = table(tmp_path, rows(260))
    assert set(split.test) == {n for n in read_split(tmp_path, more, seed=5).test if n in records}
    assert read_split(tmp_path, records, seed=5).validation != split.validation
    assert split.how == "labels.csv, divided by a hash of the patient"
    with pytest.raises(DatasetInvalid, match="too few patients"):
        read_split(tmp_path, table(tmp_path, rows(1)))


def test_a_split_column_is_followed(tmp_path: Path) -> None:
    text = (
        "image,patient,Mass,split\na.png,1,1,train\nb.png,2,0,Validation\nc.png,3,1,test\nd.png,3,,test\n"
        "e.png,4,0,train\n"
    )
    records = table(tmp_path, text)
    split = read_split(tmp_path, records)
    assert split.train == ("a.png", "e.png")
    assert (split.validation, split.test) == (("b.png",), ("c.png", "d.png"))
    records = table(tmp_path, text.replace("d.png,3", "d.png,4"))
    with pytest.raises(DatasetInvalid, match=r"train \(e.png, line 6 of the table\) and test \(d.png, line 5"):
        read_split(tmp_path, records)
    records = table(tmp_path, text.replace("Validation", "train").replace("test", "train"))
    split = read_split(tmp_path, records, validation=0.25)
    assert len({records[name].patient for name in split.validation}) == 1
    assert split.test == ()
    with pytest.raises(DatasetInvalid, match="no film has split test"):
        evaluation_images(tmp_path, records)
    with pytest.raises(DatasetInvalid, match="no film is left to learn from"):
        read_split(tmp_path, table(tmp_path, text.replace("train", "test")))


def test_png_jpeg_and_dicom_become_squares(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    grey = (chest(bits=8)).astype(np.uint8)
    Image.fromarray(grey).save(root / "a.png")
    Image.fromarray(grey).save(root / "sub" / "b.jpg", quality=95)
    (root / "c.dcm").write_bytes(image_file(chest()))
    records = table(root, "image,patient,labels\nsub/b.jpg,1,Mass\nc.dcm,2,\na.png,3,Effusion\n")
    store = cached_images(root, list(records), InputSpace(48), tmp_path / "cache")[:].astype(int)
    assert store.shape == (3, 48, 48)
    assert np.abs(store[0] - store[2]).mean() < 2
    assert np.corrcoef(store[1].ravel(), store[2].ravel())[0, 1] > 0.99
    (root / "c.dcm").write_bytes(b"\0" * 200)
    with pytest.raises(DatasetInvalid, match=r"c\.dcm \(labels.csv line 3\) can't be read: format-not-recognised"):
        cached_images(root, list(records), InputSpace(48), tmp_path / "cache")
    (root / "c.dcm").unlink()
    with pytest.raises(DatasetInvalid, match=r"1 of 3 films are not in the folder, first c\.dcm \(labels.csv line 3\)"):
        find_images(root, records)


def test_links_to_outside_the_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    records = table(root, "image,patient,labels\na.png,1,Mass\n")
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetInvalid, match=r"a\.png \(labels\.csv line 2\) is a link to outside the folder"):
        find_images(root, records)


def test_the_table_of_nih_is_preferred_to_labels_csv(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    assert find_table(tmp_path).name == "labels.csv"
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").touch()
    assert find_table(tmp_path).name == "Data_Entry_2017_v2020.csv.gz"
