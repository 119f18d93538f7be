"""`manage.py dataset_summary`, as text and as JSON."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.conftest import PROJECT_ROOT


def summary(data: Path, *options: str) -> str:
    out = io.StringIO()
    call_command("dataset_summary", "--data", str(data), *options, stdout=out)
    return out.getvalue()


def test_the_sample_beside_the_published_data(test_data: Path) -> None:
    text = summary(test_data / "nih-sample", "--pairs")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "nih-sample: 1,348 films of 1,065 patients (Data_Entry_2017.csv)" in lines
    assert "layout: NIH ChestX-ray14" in lines
    assert "images present: 1,348 of 1,348; boxes: 49" in lines
    assert "Pneumonia 434 32.20 % 322 1,431 1.28 % 1,008 1,353" in lines
    assert "No Finding 504 37.39 % 354 60,361 53.84 % 24,907" in lines
    assert "films 929 136 283" in lines
    assert "patients in two parts: 0; films in no part: 0" in lines
    assert "Hernia 3 0 1 2 2 1 3 0 1 0 0 1 0 16" in lines
    assert all(len(line) <= 120 for line in text.splitlines() if "SHA-256" not in line)


def test_json_has_the_same(test_data: Path) -> None:
    found = json.loads(summary(test_data / "nih-sample", "--json"))
    assert (found["films"], found["patients"], found["images_present"]) == (1348, 1065, 1348)
    assert found["labels"]["Pneumonia"] == {"films": 434, "share": 434 / 1348, "patients": 322, "unknown": 0}
    assert found["published"]["labels"]["Hernia"]["films"] == 227
    assert found["split"]["parts"]["test"]["films"] == 283
    with (test_data / "golden" / "seed_paper_table1.csv").open(newline="") as stream:
        assert found["paper_table_1"] == {row["finding"]: int(row["images"]) for row in csv.DictReader(stream)}


def test_a_table_without_lists_is_summarised_and_the_missing_list_named(test_data: Path, tmp_path: Path) -> None:
    shutil.copy(test_data / "nih-sample" / "Data_Entry_2017.csv", tmp_path)
    text = summary(tmp_path)
    assert "images present: 0 of 1,348; boxes: 0" in text
    assert "No split: no train_val_list.txt and no test_list.txt in the folder." in text
    with pytest.raises(CommandError, match=r"No train_list\.txt in"):
        summary(tmp_path, "--split", "files")


def test_ones_own_films_with_unknown_labels(tmp_path: Path) -> None:
    rows = [f"p{n}.png,p{n},{n % 2},{'' if n < 5 else 0}" for n in range(40)]
    (tmp_path / "labels.csv").write_text("image,patient,Mass,Effusion\n" + "\n".join(rows))
    text = summary(tmp_path)
    assert "unknown, so in no share: Atelectasis 40" in text
    assert "Effusion 5," in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "Mass 20 50.00 % 20 5,782 5.16 % 2,568 5,746" in lines
    assert "Hernia 0 - 0 227 0.20 % 134 227" in lines
    assert "divided by a hash of the patient" in text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (("Data_Entry_2017.csv", "Pneumonia,15", "Pneumona,15"), "line 3: unknown finding 'Pneumona'"),
        (("test_list.txt", "00000075_000.png", "00000061_012.png"), "One patient is in both"),
        (("test_list.txt", "00000075_000.png", "00000075_999.png"), "line 1: 00000075_999.png is not in the table"),
    ],
)
def test_bad_data_ends_with_the_reason(
    test_data: Path, tmp_path: Path, damage: tuple[str, str, str], message: str
) -> None:
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        (tmp_path / name).write_text((test_data / "nih-sample" / name).read_text())
    name, old, new = damage
    path = tmp_path / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CommandError, match=message):
        summary(tmp_path)


def test_the_command_needs_no_server_and_exits_by_its_success(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,patient,Mass\n" + "".join(f"{n}.png,{n},1\n" for n in range(30)))
    home = tmp_path / "home"
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"} | {"CHECXRAY_HOME": str(home)}
    codes = []
    for data in (tmp_path, tmp_path / "nothing"):
        done = subprocess.run(
            [sys.executable, "manage.py", "dataset_summary", "--data", str(data)],
            cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        codes.append(done.returncode)
    assert codes == [0, 1]
    assert "no such folder" in done.stderr
    assert not (home / "postgres").exists()
