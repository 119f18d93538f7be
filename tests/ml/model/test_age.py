"""Tests of the warning about an age outside the range that a version was validated on."""

import datetime
import json
from pathlib import Path

import pytest

from ml.data import age_range, find_table, read_list, read_table
from ml.model.age import age_warning
from tests.ml import samples

DATA = {"validated_ages": {"from_years": 2, "to_years": 86}}
DAY = datetime.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("born", "stated", "expected"),
    [
        (None, "", ""),
        (datetime.date(1960, 1, 2), "066Y", ""),
        (datetime.date(2024, 11, 20), "", ""),
        (datetime.date(2024, 11, 21), "", "younger"),
        (None, "023M", "younger"),
        (None, "010D", "younger"),
        (None, "002Y", ""),
        (None, "087Y", "older"),
        (datetime.date(1960, 1, 2), "001Y", "younger"),
        (datetime.date(1940, 11, 20), "", ""),
        (datetime.date(1939, 11, 20), "", "older"),
        (datetime.date(2030, 1, 1), "", ""),
        (None, "old", ""),
    ],
)
def test_ages(born: datetime.date | None, stated: str, expected: str) -> None:
    found = age_warning(DATA, born, DAY, stated)
    assert (found is not None) == bool(expected)
    assert found is None or (expected in found.detail and found.code == "age-outside-validated-range")


@pytest.mark.parametrize("data", [{}, {"validated_ages": None}, {"validated_ages": {"from_years": "x"}}])
def test_a_version_without_a_range_gives_no_warning(data: dict) -> None:
    assert age_warning(data, None, DAY, "001D") is None


def test_the_starter_has_the_ages_of_its_validation_images() -> None:
    folder = samples.data_folder() / "nih-sample"
    table = read_table(find_table(folder))
    manifest = json.loads((Path(__file__).parents[3] / "models" / "starter" / "manifest.json").read_text())
    assert manifest["data"]["validated_ages"] == age_range(table, read_list(folder / "train_val_list.txt", table))
