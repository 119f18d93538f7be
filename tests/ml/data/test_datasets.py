import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data import (
    DatasetInvalid,
    cached_images,
    carve,
    check_disjoint,
    data_sha256,
    find_images,
    find_table,
    list_sha256,
    official_split,
    patient_folds,
    read_list,
    read_split,
    read_table,
    summary,
    targets,
)
from ml.labels import LABELS
from ml.model.transforms import InputSpace

OLD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
NEW = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position\n"


def table(folder: Path, body: str, header: str = OLD, name: str = "Data_Entry_2017.csv") -> Path:
    path = folder / name
    path.write_text(header + body)
    return path


def layout(root: Path, patients: int = 6) -> Path:
    lines, names = [], []
    for patient in range(1, patients + 1):
        for number in range(2):
            name = f"{patient:08d}_{number:03d}.png"
            finding = "Effusion|Mass" if patient % 2 else "No Finding"
            lines.append(f"{name},{finding},{number},{patient},058Y,M,PA,2500,2048,0.1,0.1,\n")
            names.append(name)
            folder = root / f"images_{1 + patient % 2:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            grey = np.full((80, 60), patient * 20, np.uint8)
            rgba = np.dstack([grey] * 3 + [np.full_like(grey, 255)])
            Image.fromarray(rgba if number else grey).save(folder / name)
    table(root, "".join(lines))
    (root / "train_val_list.txt").write_text("\n".join(names[:-2]) + "\n")
    (root / "test_list.txt").write_text("\n".join(names[-2:]))
    return root


def test_both_releases_give_the_same_record(tmp_path: Path) -> None:
    old = read_table(table(tmp_path, "00000001_000.png,Effusion|Hernia,0,00001,058Y,M,PA,1,2,3,4,\n"))
    new = read_table(table(tmp_path, "00000001_000.png,Effusion|Hernia,0,1,58,M,PA\n", NEW, "new.csv"))
    assert old == new
    record = new["00000001_000.png"]
    assert (record.patient, record.age, record.findings) == ("1", 58, {"Effusion", "Hernia"})


def test_nonsense_ages_are_unknown_and_infants_zero(tmp_path: Path) -> None:
    body = "a.png,No Finding,0,1,412,M,PA\nb.png,No Finding,0,2,007D,F,AP\nc.png,No Finding,0,3,,F,AP\n"
    records = read_table(table(tmp_path, body, NEW))
    assert [records[n].age for n in ("a.png", "b.png", "c.png")] == [None, 0, None]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a.png,Efusion,0,1,58,M,PA\n", "line 2: unknown finding 'Efusion'"),
        ("a.png,Mass,0\n", "line 2: 3 fields only"),
        ("a.png,Mass,0,1,58,M,PA\na.png,Mass,0,1,58,M,PA\n", "line 3: a.png appears twice"),
        ("", "no films"),
    ],
)
def test_bad_tables_name_the_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(DatasetInvalid, match=message):
        read_table(table(tmp_path, body, NEW))


def test_a_wrong_header_and_a_truncated_archive_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no column 'Finding Labels'"):
        read_table(table(tmp_path, "a.png,1\n", "Image Index,Patient ID\n"))
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress((NEW + "a.png,Mass,0,1,58,M,PA\n" * 50).encode())[:-20])
    with pytest.raises(DatasetInvalid, match="or copy it again"):
        read_table(cut)
    with pytest.raises(DatasetInvalid, match="NIH table"):
        find_table(tmp_path / "nothing")


def test_lists_are_checked_against_the_table(tmp_path: Path) -> None:
    records = read_table(table(tmp_path, "a.png,Mass,0,1,58,M,PA\n", NEW))
    path = tmp_path / "list.txt"
    path.write_text("a.png\nb.png\n")
    with pytest.raises(DatasetInvalid, match=r"list.txt line 2: b.png is not in the table"):
        read_list(path, records)
    path.write_text("a.png\n\na.png\n")
    with pytest.raises(DatasetInvalid, match=r"line 3: a\.png was on line 1"):
        read_list(path, records)
    with pytest.raises(DatasetInvalid, match="No absent"):
        read_list(tmp_path / "absent.txt", records)


def test_a_patient_in_two_parts_is_refused(tmp_path: Path) -> None:
    root = layout(tmp_path)
    records = read_table(find_table(root))
    (root / "test_list.txt").write_text("00000001_001.png\n")
    (root / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png\n00000003_000.png\n")
    with pytest.raises(
        DatasetInvalid,
        match=r"One patient is in both train_val_list.txt line 1 \(00000001_000.png\) and test_list.txt line 1 "
        r"\(00000001_001.png\). Split by patient",
    ):
        official_split(root, records, 0.34)


def test_the_lists_of_the_folder_define_all_three_sets(tmp_path: Path) -> None:
    root = layout(tmp_path)
    records = read_table(find_table(root))
    with pytest.raises(DatasetInvalid, match=r"No train_list\.txt in"):
        read_split(root, records, "files")
    for part, patients in {"train": "123", "val": "4", "test": "5"}.items():
        names = [f"0000000{patient}_{number:03d}.png" for patient in patients for number in range(2)]
        (root / f"{part}_list.txt").write_text("\n".join(names))
    split = read_split(root, records, "files")
    assert [len(part) for part in (split.train, split.validation, split.test)] == [6, 2, 2]
    (root / "test_list.txt").write_text("00000006_000.png")
    with pytest.raises(DatasetInvalid, match=r"not the films of train_val_list\.txt, first 00000005_000\.png"):
        read_split(root, records)
    with pytest.raises(DatasetInvalid, match="no split 'random'"):
        read_split(root, records, "random")
    (root / "val_list.txt").write_text("00000003_000.png\n")
    (root / "train_list.txt").write_text("00000003_001.png\n")
    with pytest.raises(DatasetInvalid, match=r"train \(00000003_001.png, line 7 of the table\) and validation"):
        read_split(root, records, "files")


def test_the_identity_of_the_data_covers_its_truth(tmp_path: Path) -> None:
    root = layout(tmp_path)
    records = read_table(find_table(root))
    split = read_split(root, records, validation=0.4)
    other = {name: replace(record, findings=record.findings ^ {"Hernia"}) for name, record in records.items()}
    assert data_sha256(records, split) == data_sha256(dict(reversed(records.items())), split)
    assert data_sha256(records, split) != data_sha256(other, split)
    assert list_sha256(split.train) == list_sha256(split.train[::-1]) != list_sha256(split.test)


def test_validation_is_taken_by_patient(tmp_path: Path) -> None:
    root = layout(tmp_path)
    records = read_table(find_table(root))
    split = official_split(root, records, validation=0.4, seed=1)
    assert len(split.train) + len(split.validation) == 10
    assert len(split.validation) == 4
    check_disjoint({"train": split.train, "validation": split.validation, "test": split.test}, records)
    assert split == official_split(root, records, validation=0.4, seed=1)
    assert split.sha256 != official_split(root, records, validation=0.4, seed=2).sha256
    with pytest.raises(DatasetInvalid, match="no validation part"):
        carve(split.train, records, 0.01)


def test_the_official_lists_do_not_overlap(test_data: Path) -> None:
    root = test_data / "nih-official"
    records = read_table(find_table(root))
    split = official_split(root, records)
    assert (len(records), len(split.train), len(split.validation), len(split.test)) == (112_120, 75_312, 11_212, 25_596)
    assert split.how == "NIH's official lists, validation by val_list"
    assert read_split(root, records, "files").train == split.train
    assert official_split(test_data / "nih-sample", read_table(find_table(test_data / "nih-sample"))).how == (
        "the folder's train_val_list and test_list, validation by patient"
    )


def test_sample_counts(test_data: Path) -> None:
    root = test_data / "nih-sample"
    records = read_table(find_table(root))
    names = read_list(root / "train_val_list.txt", records)
    counted = summary(records, names)
    assert (counted["films"], counted["positives"]["Pneumonia"], counted["positives"]["Hernia"]) == (1065, 339, 14)
    truth = targets(records, names)
    assert truth.sum(axis=0).astype(int).tolist() == [counted["positives"][label] for label in LABELS]


def test_folds_keep_patients_together() -> None:
    patients = [str(i // 3) for i in range(60)]
    folds = patient_folds(patients, 4)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    assert all(len(set(folds[i : i + 3].tolist())) == 1 for i in range(0, 60, 3))
    with pytest.raises(DatasetInvalid, match="can't be divided"):
        patient_folds(["1", "1"], 2)


def test_the_cache_decodes_each_image_once_and_keeps_the_order(tmp_path: Path) -> None:
    root, cache = layout(tmp_path / "data"), tmp_path / "cache"
    names = ["00000003_001.png", "00000001_000.png", "00000002_001.png"]
    store = cached_images(root, names, InputSpace(32), cache)
    assert store.shape == (3, 32, 32)
    assert store[:][:, 5, 5].tolist() == [60, 20, 40]
    kept = next(cache.glob("*/shard-*.npy"))
    stamp = kept.stat().st_mtime_ns
    again = cached_images(root, names[::-1], InputSpace(32, mean=(0.5, 0.5, 0.5)), cache)
    assert again[:][:, 5, 5].tolist() == [40, 20, 60]
    assert kept.stat().st_mtime_ns == stamp
    assert len(list(cache.iterdir())) == 1
    cached_images(root, names[:2], InputSpace(32), cache)
    cached_images(root, names, InputSpace(48), cache)
    assert len(list(cache.iterdir())) == 3


def test_the_cache_notices_that_an_image_changed(tmp_path: Path) -> None:
    root, names = layout(tmp_path / "data"), ["00000001_000.png"]
    cached_images(root, names, InputSpace(32), tmp_path / "cache")
    Image.fromarray(np.full((80, 60), 7, np.uint8)).save(find_images(root, names)[names[0]])
    assert cached_images(root, names, InputSpace(32), tmp_path / "cache")[0].max() == 7


def test_an_unreadable_image_is_named_with_its_line(tmp_path: Path) -> None:
    root, names = layout(tmp_path / "data"), ["00000001_000.png", "00000002_001.png"]
    os.truncate(find_images(root, names)["00000002_001.png"], 50)
    with pytest.raises(
        DatasetInvalid,
        match=r"images_001/images/00000002_001\.png \(Data_Entry_2017\.csv line 5\) can't be read: decode-failed\. "
        r"The PNG is damaged\. .* remove it from the table and lists\.",
    ):
        cached_images(root, names, InputSpace(32), tmp_path / "cache")
    find_images(root, names)["00000001_000.png"].write_bytes(b"")
    with pytest.raises(
        DatasetInvalid, match=r"1 of 2 image files have no bytes, first 00000001_000\.png \(.* line 2\)"
    ):
        cached_images(root, names, InputSpace(32), tmp_path / "cache")
    names = ["00000003_000.png"]
    (tmp_path / "file").touch()
    with pytest.raises(DatasetInvalid, match="Choose another folder"):
        cached_images(root, names[:1], InputSpace(32), tmp_path / "file")
    with pytest.raises(DatasetInvalid, match="no films are left"):
        cached_images(root, [], InputSpace(32), tmp_path / "cache")


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    root = layout(tmp_path)
    (root / "images_001" / "images" / "00000002_000.png").unlink()
    with pytest.raises(DatasetInvalid, match=r"1 of 2 films are not under .* 00000002_000\.png \(Data.*csv line 4\)"):
        find_images(root, ["00000001_000.png", "00000002_000.png"])


def test_every_way_to_unpack_the_archives_is_found(tmp_path: Path) -> None:
    root = layout(tmp_path)
    names = list(read_table(find_table(root)))
    (root / "images_001" / "images").rename(root / "images")
    moved = root / "images_002" / "images"
    for path in list(moved.iterdir()):
        path.rename(root / "images_002" / path.name)
    found = find_images(root, names)
    assert {path.parent.name for path in found.values()} == {"images", "images_002"}
    twice = root / "images" / "00000001_000.png"
    twice.symlink_to(found["00000001_000.png"])
    assert len(find_images(root, names)) == 12
    twice.unlink()
    twice.write_bytes(b"another file")
    with pytest.raises(DatasetInvalid, match=r"00000001_000\.png is in both images and images_002"):
        find_images(root, names)
