"""Public data sets are recognised, and read into NIH's labels, on synthetic tables in their real form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml.data import (
    Box,
    DatasetInvalid,
    ImageRecord,
    describe,
    evaluation_images,
    find_layout,
    read_boxes,
    read_records,
    read_split,
    targets,
)
from ml.data.provenance import source_kind
from ml.labels import LABELS
from ml.training.config import Recipe, TrainingConfig
from ml.training.run import limits_of, prepare
from tests.ml.data import public

MAKERS = {
    "chexpert": public.chexpert,
    "mimic": public.mimic,
    "padchest": public.padchest,
    "vindr": public.vindr,
    "rsna": public.rsna,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp(kind)) for kind, make in MAKERS.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_training_and_an_evaluation_can_read_it(folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """All images are decoded, parts share no patient, and both have something that is known."""
    root = folders[kind]
    assert find_layout(root).kind == kind
    config = TrainingConfig(root, tmp_path, "test_efficientnet", input_size=32, recipe=Recipe(train_size=32))
    prepared = prepare(config)
    split, records = prepared.split, prepared.table
    parts = (split.train, split.validation, split.test)
    patients = [{records[name].patient for name in part} for part in parts]
    assert all(patients)
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert set(evaluation_images(root, records)) == set(split.test)
    for names, squares in ((split.train, prepared.squares), (split.validation, prepared.held)):
        assert squares[:].shape == (len(names), 32, 32)
        assert np.asarray(squares[:]).std() > 20
    for part in parts:
        truth = targets(records, part)
        assert np.isfinite(truth).any()
        assert np.nansum(truth) > 0
    assert {record.view for record in records.values()} <= {"PA", "AP", ""}
    limits = limits_of(config, prepared)
    assert ("so there is no output for them: " in limits) == (kind in ("chexpert", "mimic", "vindr"))
    assert ("Hernia" in limits) == (kind in ("chexpert", "mimic", "vindr"))
    assert limits.startswith("labels were read") == (kind in ("vindr", "rsna"))


def by_name(root: Path, *names: str) -> list[ImageRecord]:
    records = read_records(root)
    return [records[name] for name in names]


def test_chexpert(folders: dict[str, Path]) -> None:
    root = folders["chexpert"]
    paths = [f"train/patient{patient:05d}/study1/view1_frontal.jpg" for patient in (4, 1, 2, 3)]
    present, absent, uncertain, unmentioned = by_name(root, *paths)
    assert present == ImageRecord(
        paths[0],
        "patient00004",
        frozenset({"Cardiomegaly", "Effusion"}),
        34,
        "M",
        "AP",
        frozenset(LABELS)
        - {"Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Pneumonia", "Pneumothorax"},
        "train",
        others=frozenset({"Support Devices"}),
    )
    for record in (absent, unmentioned):
        assert "Cardiomegaly" not in record.findings | record.unknown
    assert "Cardiomegaly" in uncertain.unknown
    found = describe(root)
    assert found["left_out"] == {"lateral view": 48}
    assert found["other_labels"] == {"Support Devices": 48}
    # Without a test.csv the radiologists' valid.csv is the test part; validation is taken from the training patients.
    assert found["split"]["parts"]["test"]["labels"]["Edema"]["films"] == 8
    assert "valid.csv is the test part" in found["split"]["how"]


def test_chexpert_with_its_test_set(tmp_path: Path) -> None:
    root = public.chexpert(tmp_path)
    names = ["Path", *public.CHEXPERT_HEADER.split(",")[5:]]
    views = ("frontal", "lateral")
    paths = [f"test/patient{64741 + number}/study1/view1_{view}.jpg" for number in range(3) for view in views]
    cells = ["1.0" if name == "Edema" else "0" for name in names[1:]]
    public.write(root / "test.csv", ",".join(names), [(path, *cells) for path in paths])
    split = read_split(root, read_records(root))
    assert split.test == tuple(path for path in paths if "frontal" in path)
    assert all(name.startswith("valid/") for name in split.validation)
    (root / "valid.csv").unlink()
    (root / "test.csv").unlink()
    assert read_split(root, read_records(root)).how.startswith("CheXpert, divided by a hash of the patient")


def test_mimic(folders: dict[str, Path]) -> None:
    root = folders["mimic"]
    records = read_records(root)
    first = [record for record in records.values() if record.patient == "10000032"]
    assert [record.image for record in first] == [
        f"files/p10/p10000032/s50414267/00000000-{index:08x}-5a1b2c3d-4e5f6071-8293a4b5.jpg" for index in (0, 2)
    ]
    assert [(record.view, record.part, record.others) for record in first] == [
        ("PA", "train", {"Lung Opacity"}),
        ("AP", "train", {"Lung Opacity"}),
    ]
    assert first[0].findings == {"Pneumonia"}
    uncertain = next(record for record in records.values() if record.patient == "10000034")
    assert "Pneumonia" in uncertain.unknown
    found = describe(root)
    assert found["left_out"] == {"lateral view": 48}
    assert [part["films"] for part in found["split"]["parts"].values()] == [76, 12, 8]


def test_mimic_without_its_labels_or_split(tmp_path: Path) -> None:
    root = public.mimic(tmp_path, 24)
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    assert read_split(root, read_records(root)).how == "MIMIC-CXR-JPG, divided by a hash of the patient"
    (root / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    with pytest.raises(DatasetInvalid, match=r"No mimic-cxr-2\.0\.0-chexpert\.csv\.gz in .* Put the table there"):
        read_records(root)


def test_padchest(folders: dict[str, Path]) -> None:
    root = folders["padchest"]
    first = {record.patient: record for record in read_records(root).values()}
    two, normal, loculated, unchanged, alveolar, many = (first[f"8{number:04d}"] for number in range(6))
    assert (two.findings, two.age, two.sex, two.view) == ({"Effusion", "Cardiomegaly"}, 84, "F", "PA")
    assert (normal.findings, normal.unknown, normal.view) == (frozenset(), frozenset(), "AP")
    # A term is mapped by its whole name: air under the skin is no emphysema.
    assert loculated.findings == {"Effusion"}
    assert loculated.others == {"subcutaneous emphysema", "pacemaker"}
    assert (unchanged.findings, unchanged.unknown) == ({"Pneumonia"}, frozenset(LABELS) - {"Pneumonia"})
    assert (alveolar.findings, alveolar.unknown) == ({"Nodule"}, {"Infiltration"})
    assert many.findings == {"Mass", "Hernia", "Pleural_Thickening", "Atelectasis"}
    found = describe(root)
    assert found["left_out"] == {
        "excluded by the labels": 1,
        "lateral view": 60,
        "projection COSTAL": 1,
        "report without labels": 1,
    }
    assert found["split"]["how"] == "PadChest, divided by a hash of the patient"
    assert found["images_present"] == 60


def test_vindr(folders: dict[str, Path]) -> None:
    root = folders["vindr"]
    seen, nothing, effusion, one = by_name(root, *(f"train/{number:032x}.dicom" for number in range(4)))
    # Two of three readers saw it; one of three leaves it unknown; a nodule or mass of one reader leaves both unknown.
    assert (seen.findings, seen.unknown, seen.others) == ({"Cardiomegaly"}, {"Nodule", "Mass", "Hernia"}, frozenset())
    assert (nothing.findings, nothing.unknown, nothing.view) == (frozenset(), {"Hernia"}, "PA")
    assert (effusion.findings, effusion.others) == ({"Effusion"}, {"ild"})
    assert (one.findings, one.unknown) == (frozenset(), {"Fibrosis", "Hernia"})
    split = read_split(root, read_records(root))
    assert (len(split.test), "each film counts as one" in split.how) == (8, True)
    boxes = read_boxes(root, read_records(root))
    assert len(boxes) == 12 * 2 + 12 * 3
    assert boxes[0] == Box(seen.image, "Cardiomegaly", 4.0, 6.0, 16.5, 24.0, public.SIDE, public.SIDE)


def test_vindr_of_the_challenge(tmp_path: Path) -> None:
    root = public.kaggle_vindr(tmp_path)
    assert find_layout(root).kind == "vindr"
    seen, nothing = by_name(root, *(f"train/{number:032x}.dicom" for number in range(2)))
    unread = {"Edema", "Emphysema", "Pneumonia", "Hernia"}
    assert (seen.findings, seen.unknown) == ({"Cardiomegaly"}, {"Nodule", "Mass"} | unread)
    assert nothing.unknown == unread
    assert read_split(root, read_records(root)).how.startswith(
        "VinDr-CXR, divided by a hash of the patient; its tables"
    )
    assert len(read_boxes(root, read_records(root))) == 15 * 2 + 15 * 3


def test_rsna(folders: dict[str, Path]) -> None:
    root = folders["rsna"]
    opacity, normal, neither = list(read_records(root).values())[:3]
    assert (opacity.findings, opacity.unknown) == ({"Pneumonia"}, frozenset(LABELS) - {"Pneumonia"})
    assert (normal.findings, normal.unknown) == (frozenset(), frozenset())
    assert (neither.findings, neither.unknown) == (frozenset(), frozenset(LABELS) - {"Pneumonia"})
    assert describe(root)["other_labels"] == {"No Lung Opacity / Not Normal": 20}
    boxes = read_boxes(root, read_records(root))
    assert (len(boxes), boxes[1]) == (40, Box(opacity.image, "Pneumonia", 562.0, 152.0, 256.0, 453.0))
    assert source_kind(root) == "rsna"


def test_rsna_with_its_mappings_has_the_patients_of_nih(tmp_path: Path) -> None:
    root = public.rsna(tmp_path, mappings=True)
    records = list(read_records(root).values())
    assert [record.patient for record in records[:4]] == ["1", "1", "2", "2"]
    assert source_kind(root) == "nih"


def test_the_mappings_of_rsna_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    root = public.rsna(tmp_path, mappings=True)
    mappings = root / "pneumonia-challenge-dataset-mappings_2018.json"
    mappings.write_bytes(b"\xef\xbb\xbf" + mappings.read_bytes())
    assert [record.patient for record in list(read_records(root).values())[:2]] == ["1", "1"]


def test_too_few_patients_for_a_split_are_counted_all_the_same(tmp_path: Path) -> None:
    root = public.mimic(tmp_path, 3)
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    described = describe(root)
    assert (described["split"], described["films"] > 0) == (None, True)
    assert "has too few patients to divide" in described["split_missing"]


def test_a_folder_of_no_layout_names_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,target\n1,0\n")
    with pytest.raises(DatasetInvalid) as caught:
        find_layout(tmp_path)
    for name in (
        "Data_Entry_2017.csv", "labels.csv", "column Path (CheXpert)", "mimic-cxr-2.0.0-metadata.csv.gz",
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "image_id and class_name", "stage_2_train_labels.csv",
    ):  # fmt: skip
        assert name in str(caught.value)
    (tmp_path / "train.csv").unlink()
    public.rsna(tmp_path / "rsna", 3)
    with pytest.raises(DatasetInvalid, match=f"{tmp_path}/rsna is RSNA Pneumonia Detection Challenge: give that"):
        find_layout(tmp_path)


def damage(path: Path, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return change


PADCHEST_CSV = Path("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
VINDR_CSV = Path("annotations/image_labels_train.csv")
RSNA_CSV, RSNA_CLASSES = Path("stage_2_train_labels.csv"), Path("stage_2_detailed_class_info.csv")


@pytest.mark.parametrize(
    ("make", "change", "message"),
    [
        (public.chexpert, damage(Path("train.csv"), "-1.0", "-2.0"), "line 4: Cardiomegaly is '-2.0'. The labeller"),
        (public.chexpert, damage(Path("train.csv"), "-small/train/", "-small/"), "line 2: Path .* has no train, valid"),
        (public.chexpert, damage(Path("valid.csv"), "valid/patient64542", "train/patient00001"), "appears twice"),
        (public.chexpert, damage(Path("train.csv"), "Pneumonia", "pneumonia?"), "line 1: no column 'Pneumonia'"),
        (public.padchest, damage(PADCHEST_CSV, "['normal']", "normal"), "line 3: Labels is 'normal', no list"),
        (public.vindr, damage(VINDR_CSV, "R8,0", "R8,7"), "line 2: Aortic enlargement is '7'"),
        (public.rsna, damage(RSNA_CLASSES, ",Normal", ",Fine"), "line 4: class is 'Fine'"),
        (public.rsna, damage(RSNA_CSV, "patientId,x", "patient,x"), "line 1: no column 'patientId'"),
        (public.rsna, lambda root: (root / RSNA_CLASSES).unlink(), "No stage_2_detailed_class_info.csv"),
    ],
)  # fmt: skip
def test_bad_tables_name_line_and_remedy(
    tmp_path: Path, make: Callable[[Path, int], Path], change: Callable[[Path], None], message: str
) -> None:
    root = make(tmp_path, 4)
    change(root)
    with pytest.raises(DatasetInvalid, match=message):
        read_records(root)
