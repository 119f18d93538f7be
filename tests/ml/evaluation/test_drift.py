"""Drift: real films, real predictions. A week in control raises no alarm, a week of wrong images does."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.evaluation.drift import Readings, alarm_limit, alarms_of, beta_binomial, figures_of, held_out_readings
from ml.labels import LABELS
from ml.model.artifact import save_artifact
from ml.model.calibration import calibrate, sigmoid
from ml.model.held_out import HeldOutRecord
from ml.model.predictor import Predictor, load_predictor
from ml.model.transforms import to_square
from ml.training.package import rounded_tensors
from tests import prepared
from tests.conftest import STARTER
from tests.ml import tiny
from tests.ml.evaluation.golden import Golden

YEARS = 15


def sample(values: np.ndarray, random: np.random.Generator, count: int) -> Readings:
    """Films drawn at random, of which as many as by chance are AP (40 %) or refused (1 %)."""
    chosen = values[random.choice(len(values), count, replace=False)]
    columns = {label: chosen[:, column] for column, label in enumerate(LABELS)}
    refused, ap = int(random.binomial(count, 0.01)), int(random.binomial(count, 0.4))
    return Readings(count, columns, (refused, count + refused), (ap, count))


def test_years_in_control_raise_no_alarm_and_a_year_of_drift_does(golden: Golden) -> None:
    """The limits promise one false alarm in 100 years. Rare findings have the most skewed probabilities."""
    values, random = sigmoid(golden.scored.logits), np.random.default_rng(16)
    thresholds = {label: float(np.quantile(values[:, column], 0.97)) for column, label in enumerate(LABELS)}
    alarms = weeks = 0
    for _ in range(YEARS):
        kept = sample(values, random, 600)
        reference = Readings.of_reference(kept.as_reference())
        for _ in range(52):
            figures = figures_of(sample(values, random, 60), reference, thresholds)
            assert len(figures) == 2 * len(LABELS) + 2
            alarms, weeks = alarms + len(alarms_of(figures)), weeks + 1
    assert weeks == 52 * YEARS
    assert alarms <= 1, f"{alarms} false alarms in {weeks} weeks"
    # Every probability a little higher, as after a change of the processing.
    week = sample(values, random, 60)
    higher = {label: sigmoid(np.log(each / (1 - each)) + 1.0) for label, each in week.probabilities.items()}
    found = alarms_of(figures_of(replace(week, probabilities=higher), reference, thresholds))
    assert "probability" in {each.what for each in found}


@pytest.fixture(scope="module")
def films(test_data: Path) -> list[np.ndarray]:
    """Real films that the starter was not made from."""
    folder = test_data / "nih-sample"
    names = (folder / "test_list.txt").read_text().split()
    with (folder / "Data_Entry_2017.csv").open() as stream:
        patients = {row["Image Index"]: row["Patient ID"] for row in csv.DictReader(stream)}
    one_each = list({patients[name]: name for name in names}.values())
    # In random order: the list is in that of the patients, who come from two collections.
    chosen = np.random.default_rng(16).permutation(one_each)[:84]
    return [np.asarray(Image.open(folder / "images" / name).convert("L")) for name in chosen]


def read(predictor: Predictor, pictures: list[np.ndarray]) -> Readings:
    squares = np.stack([to_square(each, predictor.manifest.input_space) for each in pictures])
    prediction = predictor.predict(squares)
    accepted = [each.accepted for each in predictor.check_features(prediction)]
    values = predictor.probabilities(prediction)[accepted]
    columns = {label: values[:, column] for column, label in enumerate(predictor.manifest.labels)}
    return Readings(len(values), columns, (accepted.count(False), len(accepted)), None)


def test_a_week_of_inverted_or_burnt_out_films_raises_an_alarm(films: list[np.ndarray]) -> None:
    predictor = load_predictor(STARTER, "cpu", prepared.starter_graphs(), threads=2)
    points = {label: point.value if point else None for label, point in predictor.manifest.thresholds.items()}
    reference, last = read(predictor, films[:60]), films[60:]
    assert alarms_of(figures_of(read(predictor, last), reference, points)) == []
    inverted = [255 - each for each in last]
    burnt_out = [np.clip(each.astype(float) * 2.2, 0, 255).astype(np.uint8) for each in last]
    for wrong in (inverted, burnt_out):
        week = read(predictor, wrong)
        found = alarms_of(figures_of(week, reference, points))
        assert found, f"{week.films} of {len(wrong)} films read"


def test_a_share_is_tested_exactly_and_the_reference_counts() -> None:
    assert beta_binomial((1, 60), (4, 1065)) > alarm_limit(30)
    assert beta_binomial((8, 60), (4, 1065)) < alarm_limit(30)
    # The same share against a small reference proves nothing.
    assert beta_binomial((8, 60), (0, 20)) > alarm_limit(30)
    assert beta_binomial((24, 60), (400, 1000)) == pytest.approx(1.0, abs=0.15)


def test_a_version_brings_its_reference(tmp_path: Path) -> None:
    """The first held-out film of each patient, with the calibration of the version."""
    logits = np.random.default_rng(0).normal(size=(6, len(LABELS))).astype(np.float32)
    patients = np.array([1, 1, 2, 3, 3, 4], dtype=np.int32)
    kept = HeldOutRecord(logits, np.zeros_like(logits), np.array(["PA", "AP", "AP", "", "PA", "AP"]), patients)
    manifest = replace(tiny.manifest(), metrics={"gate": {"films": 200, "refused_films": 0.01}})
    save_artifact(tmp_path / "with", manifest, rounded_tensors(tiny.network()), held_out=kept)
    found = held_out_readings(tmp_path / "with")
    assert found is not None
    assert (found.films, found.refused, found.ap) == (4, (2, 200), (2, 3))
    expected = calibrate(logits[[0, 2, 3, 5]], manifest.labels, manifest.calibration)
    again = Readings.of_reference(found.as_reference())
    assert again.probabilities["Mass"] == pytest.approx(np.sort(expected[:, LABELS.index("Mass")]), abs=1e-6)
    assert held_out_readings(tiny.artifact(tmp_path / "without")) is None
