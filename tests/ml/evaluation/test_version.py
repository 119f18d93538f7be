import json
import subprocess
import sys
from pathlib import Path

import pytest

from ml.data import DatasetInvalid, read_split, read_table
from ml.data.provenance import SEEN_PATIENTS, patient_fingerprint
from ml.evaluation import (
    REFUSED,
    EvaluationRefused,
    NotComparable,
    compare_versions,
    evaluate_version,
    paired_difference,
    report_text,
)
from ml.evaluation.__main__ import main
from ml.evaluation.image_list import OFFICIAL_TEST, check_unseen, read_image_list
from ml.labels import LABELS
from ml.model.manifest import read_manifest
from ml.model.predictor import load_predictor
from tests.ml.evaluation import layout

ROOT = Path(__file__).parents[3]
TRAIN, TEST = [str(i) for i in range(1, 25)], [str(i) for i in range(25, 49)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layout.make(tmp_path_factory.mktemp("layout") / "nih")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return layout.artifact(
        tmp_path_factory.mktemp("artifact") / "tiny", **{SEEN_PATIENTS: patient_fingerprint(TRAIN, "nih")}
    )


@pytest.fixture(scope="module")
def report(version: Path, data: Path, cache: Path) -> dict:
    return evaluate_version(version, data, None, cache, "cpu", rounds=100)


def test_the_report_describes_its_data(report: dict) -> None:
    assert (report["n"], report["patients"]) == (48, 24)
    assert report["split"]["id"] == "list test_list.txt"
    assert report["model"]["name"] == "tiny-0"
    assert report["model"]["trained_on"]["source"] == "noise"
    assert set(report["labels"]) == set(LABELS)
    assert report["labels_in_mean"] == 13
    assert report["ci95"][0] < report["mean_auroc"] < report["ci95"][1]
    assert report["localisation_details"]["boxes"] > 10
    assert set(report["localisation"]["Effusion"]) >= {"pointing", "random", "prior", "ci95", "validated"}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_version_with_fewer_findings_is_evaluated_on_those(
    tmp_path: Path, version: Path, report: dict, data: Path, cache: Path
) -> None:
    few = layout.artifact(tmp_path / "few", labels=("Effusion", "Mass", "Pneumonia"))
    found = evaluate_version(few, data, None, cache, "cpu", rounds=100)
    for label in LABELS:
        own, whole = found["labels"][label], report["labels"][label]
        if label in ("Effusion", "Mass", "Pneumonia"):
            assert own["auroc"] == pytest.approx(whole["auroc"], abs=1e-9)
            assert own["operating_point"]["threshold"] == whole["operating_point"]["threshold"]
        else:
            assert own["auroc"] is own["operating_point"] is own["ece"]["platt"] is None
            assert own["operating_point_note"] == "The version was not trained to find it."
    assert found["labels_in_mean"] == 3
    assert set(found["localisation"]) <= {"Effusion", "Mass", "Pneumonia"}
    assert any(line.startswith("Atelectasis, Cardiomegaly") for line in found["not_run"])
    assert "Atelectasis" in report_text(found)
    with pytest.raises(NotComparable, match="different findings"):
        paired_difference(found, report)
    _, other = compare_versions([version, few], data, None, cache, "cpu", rounds=100)["rows"]
    assert "difference" not in other
    assert other["labels"]["Mass"]["auroc"] == pytest.approx(report["labels"]["Mass"]["auroc"], abs=1e-9)


def test_the_report_lists_what_was_not_run(report: dict) -> None:
    note = "\n".join(report["not_run"])
    assert "official test list" in note
    assert "AUROC of Hernia" in note
    assert "Operating points of Hernia" in note
    assert "not checked" not in note


def test_logits_are_those_of_serving(version: Path, data: Path, cache: Path, report: dict) -> None:
    """Count the sensitivity image by image with the serving predictor."""
    from ml.dicom.radiograph import read_radiograph
    from ml.model.transforms import to_square

    predictor = load_predictor(version, "cpu", cache / "graphs", threads=1)
    listed = read_image_list(data, None)
    threshold = predictor.manifest.thresholds["Effusion"]
    assert threshold is not None
    column, hits, positives = LABELS.index("Effusion"), 0, 0
    for name, record in zip(listed.names, listed.records, strict=True):
        square = to_square(read_radiograph(data / "images" / name).pixels, predictor.manifest.input_space)
        called = predictor.probabilities(predictor.predict(square[None]))[0, column] >= threshold.value
        positives += "Effusion" in record.findings
        hits += "Effusion" in record.findings and bool(called)
    point = report["labels"]["Effusion"]["operating_point"]
    assert point["sensitivity_films"] == positives
    assert point["sensitivity"] == pytest.approx(hits / positives)


def test_patients_of_the_training_are_refused(version: Path, data: Path, cache: Path) -> None:
    with pytest.raises(EvaluationRefused, match=r"24 of the 24 patients .* 00000001_000\.png"):
        evaluate_version(version, data, data / "train_val_list.txt", cache, "cpu", rounds=10)


def test_one_patient_of_the_training_is_enough(version: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.txt"
    mixed.write_text((data / "test_list.txt").read_text() + "00000007_001.png\n")
    with pytest.raises(EvaluationRefused, match=r"1 of the 25 patients .* 00000007_001\.png"):
        evaluate_version(version, data, mixed, cache, "cpu", rounds=10)


def test_the_hash_of_the_lists_is_used_where_no_patients_are_listed(data: Path, cache: Path, tmp_path: Path) -> None:
    table = read_table(data / "Data_Entry_2017_v2020.csv")
    by_lists = layout.artifact(tmp_path / "lists", split_sha256=read_split(data, table, "official").sha256)
    with pytest.raises(EvaluationRefused):
        evaluate_version(by_lists, data, data / "train_val_list.txt", cache, "cpu", rounds=10)
    assert check_unseen(read_manifest(by_lists), read_image_list(data, None)) is None


def test_the_shipped_starter_is_not_evaluated_on_its_own_images(test_data: Path) -> None:
    root = test_data / "nih-sample"
    starter = read_manifest(ROOT / "models" / "starter")
    assert check_unseen(starter, read_image_list(root, None)) is None
    with pytest.raises(EvaluationRefused, match="852 of the 852 patients"):
        check_unseen(starter, read_image_list(root, root / "train_val_list.txt"))


def test_the_report_states_that_patients_were_not_checked(data: Path, tmp_path: Path) -> None:
    silent = layout.artifact(tmp_path / "silent")
    note = check_unseen(read_manifest(silent), read_image_list(data, data / "train_val_list.txt"))
    assert note is not None
    assert "not checked" in note


def test_only_nihs_own_list_is_called_official(test_data: Path, tmp_path: Path) -> None:
    root = test_data / "nih-official"
    assert read_image_list(root, None).split_id == OFFICIAL_TEST
    names = (root / "test_list.txt").read_text().split()
    shuffled = tmp_path / "mine.txt"
    shuffled.write_text("\r\n".join(reversed(names)))
    assert read_image_list(root, shuffled).split_id == OFFICIAL_TEST
    shorter = tmp_path / "test_list.txt"
    shorter.write_text("\n".join(names[1:]))
    assert read_image_list(root, shorter).split_id == "list test_list.txt"


def test_without_boxes_the_report_has_a_reason(version: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    unboxed = tmp_path / "unboxed.txt"
    unboxed.write_text("".join(f"{i:08d}_000.png\n" for i in range(25, 49)))
    report = evaluate_version(version, data, unboxed, cache, "cpu", rounds=10)
    assert report["localisation"] == {}
    assert report["localisation_note"] == "None of the listed films has a box."
    assert any(line.startswith("Localisation:") for line in report["not_run"])
    assert "Localisation on" not in report_text(report)


def test_a_list_of_other_images_names_the_line(version: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("00000030_000.png\n99999999_000.png\n")
    with pytest.raises(DatasetInvalid, match=r"other\.txt line 2"):
        evaluate_version(version, data, other, cache, "cpu", rounds=10)


def test_a_version_compared_with_itself_has_no_difference(version: Path, data: Path, cache: Path) -> None:
    compared = compare_versions([version, version], data, None, cache, "cpu", rounds=50)
    assert "difference" not in compared["rows"][0]
    assert compared["rows"][1]["difference"] == {"mean_auroc": 0.0, "ci95": [0.0, 0.0], "better_share": 0.0}


def test_a_comparison_is_paired(version: Path, data: Path, cache: Path, report: dict, tmp_path: Path) -> None:
    other = layout.artifact(tmp_path / "other", seed=1)
    compared = compare_versions([version, other], data, None, cache, "cpu", rounds=100)
    first, second = compared["rows"]
    assert first["mean_auroc"] == report["mean_auroc"]
    assert first["ci95"] == report["ci95"]
    difference = second["difference"]
    assert difference["mean_auroc"] == pytest.approx(second["mean_auroc"] - first["mean_auroc"])
    assert difference["ci95"][0] < difference["mean_auroc"] < difference["ci95"][1]
    assert any(line.startswith("tiny-1: It was not checked") for line in compared["not_run"])
    # Separate evaluations, and another order of the images, give the same difference.
    (tmp_path / "test_list.txt").write_text("\n".join(reversed((data / "test_list.txt").read_text().split())))
    separate = evaluate_version(other, data, tmp_path / "test_list.txt", cache, "cpu", rounds=100)
    later = paired_difference(separate, report)
    assert later["mean_auroc"] == pytest.approx(difference["mean_auroc"])
    assert later["ci95"] == pytest.approx(difference["ci95"], abs=1e-6)
    (tmp_path / "fewer.txt").write_text("\n".join((data / "test_list.txt").read_text().split()[:40]))
    with pytest.raises(NotComparable, match="changed between"):
        paired_difference(evaluate_version(other, data, tmp_path / "fewer.txt", cache, "cpu", rounds=100), report)
    with pytest.raises(ValueError, match="two versions"):
        compare_versions([version], data, None, cache)


def test_command_line(
    version: Path, data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--artifact", str(version), "--data", str(data), "--cache", str(cache), "--rounds", "20"]
    assert main([*common, "--device", "cpu", "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    for heading in (
        "Findings",
        "At the stored operating points",
        "Subgroups",
        "Localisation on",
        "(Table 3)",
        "Not run",
    ):
        assert heading in out
    written = json.loads((tmp_path / "out.json").read_text())
    assert {"n", "patients", "mean_auroc", "ci95", "labels"} <= set(written)
    assert main([*common, "--artifact", str(version), "--device", "cpu"]) == 0
    assert "(Table 2)" in capsys.readouterr().out
    assert main([*common, "--split", str(data / "train_val_list.txt"), "--json", str(tmp_path / "no.json")]) == REFUSED
    assert "use a list of other patients" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()


def test_on_a_cpu_torch_is_not_imported(version: Path, data: Path, cache: Path, report: dict) -> None:
    code = (
        "import sys; from pathlib import Path; from ml.evaluation import evaluate_version;"
        f"evaluate_version(Path({str(version)!r}), Path({str(data)!r}), None, Path({str(cache)!r}), 'cpu', 10);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


def test_a_folder_of_ones_own_with_unknown_truth(version: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    root = tmp_path / "own"
    (root / "films").mkdir(parents=True)
    rows = ["image,patient,split,Effusion,Mass\n"]
    for number, source in enumerate(sorted((data / "images").iterdir())[:40]):
        (root / "films" / source.name).write_bytes(source.read_bytes())
        part = "test" if number >= 10 else "train"
        rows.append(f"films/{source.name},p{number},{part},{number % 2},{'' if number % 3 else 1}\n")
    (root / "labels.csv").write_text("".join(rows))
    report = evaluate_version(version, root, None, cache, "cpu", rounds=20)
    assert report["split"]["id"] == "test part of labels.csv"
    assert (report["n"], report["labels_in_mean"]) == (30, 1)
    assert (report["labels"]["Effusion"]["films"], report["labels"]["Effusion"]["positives"]) == (30, 15)
    assert (report["labels"]["Mass"]["films"], report["labels"]["Mass"]["auroc"]) == (10, None)
    assert report["labels"]["Edema"]["operating_point"]["sensitivity"] is None
    assert report["subgroups"]["sex"]["groups"] == {}
    # The version was trained on NIH's patients 1 to 24, which are other people with the same numbers.
    assert any("not checked" in line for line in report["not_run"])
    assert "of labels.csv" in report_text(report)
