from pathlib import Path

import pytest

from ml.data.provenance import SEEN_PATIENTS, patient_fingerprint, seen_patients, source_kind


def test_patients_are_found_again() -> None:
    data = {SEEN_PATIENTS: patient_fingerprint((str(i) for i in range(1000)), "nih")}
    assert seen_patients(data, {"5", "999", "1000", "x"}, "nih") == {"5", "999"}
    assert len(data[SEEN_PATIENTS]["digests"]) == 8 * 1000


def test_the_order_of_the_images_does_not_matter() -> None:
    assert patient_fingerprint(["a", "b", "a"], "own") == patient_fingerprint(["b", "a"], "own")


def test_another_source_is_not_compared() -> None:
    data = {SEEN_PATIENTS: patient_fingerprint(["1"], "own")}
    assert seen_patients(data, {"1"}, "nih") is None
    assert seen_patients({}, {"1"}, "nih") is None


@pytest.mark.parametrize("damage", [lambda text: text[:-4], lambda text: "?" + text[1:]])
def test_a_damaged_list_is_no_empty_list(damage) -> None:
    good = patient_fingerprint(map(str, range(20)), "nih")
    with pytest.raises(ValueError, match="Copy the artifact again"):
        seen_patients({SEEN_PATIENTS: {**good, "digests": damage(good["digests"])}}, {"1"}, "nih")


def test_another_kind_of_list_is_no_empty_list() -> None:
    with pytest.raises(ValueError, match="Copy the artifact again"):
        seen_patients({SEEN_PATIENTS: "1, 2, 3"}, {"1"}, "nih")


def test_a_labels_csv_has_its_own_patients(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,patient,labels\n")
    assert source_kind(tmp_path) == "own"
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index\n")
    assert source_kind(tmp_path) == "nih"
