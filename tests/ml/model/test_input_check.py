from pathlib import Path

import numpy as np
import pytest

from ml.dicom.preflight import inspect
from ml.dicom.radiograph import read_radiograph
from ml.model.input_check import CODES, KINDS, FeatureCheck, check_attributes, check_features
from ml.model.predictor import Predictor, load_predictor
from ml.model.transforms import to_square
from ml.training.negatives import generated
from ml.training.other_radiographs import other_radiographs
from ml.training.spoiled import SPOILED, spoiled
from ml.training.usual import varied
from tests import prepared

DX = "1.2.840.10008.5.1.4.1.1.1.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
MR = "1.2.840.10008.5.1.4.1.1.4"
STARTER = Path(__file__).parents[3] / "models" / "starter"
GOOD = {"Modality": "DX", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ViewPosition": "AP"},
        {"ViewPosition": ""},
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "THORAX_1_ERWEIT"},
        {"PatientOrientation": "L\\F"},
        {"Modality": "CR"},
        {"Modality": ""},
        {"BodyPartExamined": "TÓRAX"},
        {"ViewPosition": "", "SeriesDescription": "CHEST PA"},
        {"SeriesDescription": "Bilateral lungs"},
    ],
)
def test_frontal_chest_images_are_accepted(change: dict[str, str]) -> None:
    assert check_attributes({**GOOD, **change}, DX, 2500, 2048).accepted


@pytest.mark.parametrize(
    ("change", "sop_class", "shape", "reason"),
    [
        ({"Modality": "MR"}, MR, (512, 512), "not-radiography"),
        ({"Modality": "CT"}, DX, (512, 512), "not-radiography"),
        ({"Modality": "US"}, SC, (512, 512), "not-radiography"),
        ({"BodyPartExamined": "HAND"}, DX, (512, 512), "not-chest"),
        ({"ViewPosition": "LL"}, DX, (512, 512), "not-frontal"),
        ({"ViewPosition": "LATERAL"}, DX, (512, 512), "not-frontal"),
        ({"ViewPosition": "RAO"}, DX, (512, 512), "not-frontal"),
        ({"ViewPosition": "", "PatientOrientation": "A\\F"}, DX, (512, 512), "not-frontal"),
        ({"ViewPosition": "", "SeriesDescription": "W chest Lat."}, DX, (512, 512), "not-frontal"),
        ({}, DX, (199, 300), "too-small"),
        ({}, DX, (400, 1000), "aspect-ratio"),
    ],
)
def test_others_are_refused_with_a_reason(
    change: dict[str, str], sop_class: str, shape: tuple[int, int], reason: str
) -> None:
    result = check_attributes({**GOOD, **change}, sop_class, *shape)
    assert (result.accepted, result.reason) == (False, reason)
    assert reason in CODES
    assert result.detail.endswith(".")


def test_pictures_without_attributes_are_checked_by_features_only() -> None:
    assert check_attributes({}, None, 1024, 1024).accepted
    assert check_attributes({"Modality": "OT"}, SC, 1024, 1024).accepted


def sample_check(rng: np.random.Generator) -> FeatureCheck:
    ones = np.ones(6, np.float32)
    basis = np.linalg.qr(rng.normal(size=(6, 2)))[0].astype(np.float32)
    return FeatureCheck(
        0 * ones, ones, ones[None], 0 * ones[:1], -1.0, basis, np.array([2.0, 1.0], np.float32), 0.5, 4.0
    )


def test_each_row_of_features_is_checked() -> None:
    check = sample_check(np.random.default_rng(0))
    rows = np.array([[0.0] * 6, [-1.0] * 6, [9.0] * 6, [np.nan] * 6])
    results = check_features(rows, check)
    assert [r.reason for r in results] == [None, "not-chest-film", "unlike-training", "unlike-training"]
    assert check_features(rows, None)[1].accepted


def test_a_refusal_names_the_kind_that_the_image_looks_like() -> None:
    count = len(KINDS)
    eye, ones = np.eye(count, dtype=np.float32), np.ones(count, np.float32)
    check = FeatureCheck(0 * ones, ones, 4 * eye, 0 * ones, -5.0, eye[:, :2], ones[:2], 1.0, 99.0)
    rows = np.full((3, count), 3.0)
    rows[1, 2] = rows[2, 5] = -3.0
    accepted, part, screenshot = check_features(rows, check)
    assert accepted.accepted
    assert (part.reason, screenshot.reason) == ("not-chest-film", "not-chest-film")
    assert part.detail.endswith("It looks most like a part of a film.")
    assert screenshot.detail.endswith("It looks most like a screenshot.")
    assert check.score(rows) == pytest.approx(-np.log(np.exp(-4 * rows).sum(axis=1)) + 5)
    assert [*KINDS] == [*SPOILED, "radiograph", "picture"]


def test_distance_is_the_mahalanobis_distance_of_the_factor_model() -> None:
    rng = np.random.default_rng(1)
    check = sample_check(rng)
    covariance = check.basis @ np.diag(check.variance) @ check.basis.T
    covariance += check.residual * (np.eye(6) - check.basis @ check.basis.T)
    x = rng.normal(size=(5, 6))
    expected = np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x) / 6
    assert check.distance(x) == pytest.approx(expected, rel=1e-4)


def test_incomplete_parameters_are_refused() -> None:
    check = sample_check(np.random.default_rng(2))
    again = FeatureCheck.from_parts(check.tensors(), check.scalars())
    assert np.array_equal(again.basis, check.basis)
    # Versions from before there was a classifier for each kind have one classifier, and its bias among the scalars.
    tensors = {**check.tensors(), "weight": check.weight[0]}
    del tensors["bias"]
    older = FeatureCheck.from_parts(tensors, {**check.scalars(), "bias": 0.5})
    assert older.score(np.ones((1, 6))) == pytest.approx(check.score(np.ones((1, 6))) + 0.5)
    with pytest.raises(ValueError, match="incomplete"):
        FeatureCheck.from_parts({**check.tensors()}, {"bias": 0.0})
    with pytest.raises(ValueError, match="unequal"):
        FeatureCheck.from_parts({**check.tensors(), "weight": np.ones(5)}, check.scalars())


@pytest.fixture(scope="module")
def starter() -> Predictor:
    return load_predictor(STARTER, "cpu", prepared.starter_graphs(), threads=1)


def accepted(predictor: Predictor, squares: np.ndarray) -> np.ndarray:
    return np.array([r.accepted for r in predictor.check_features(predictor.predict(squares))])


def test_the_starter_accepts_unseen_images(starter: Predictor, test_data: Path) -> None:
    root = test_data / "nih-sample"
    names = (root / "test_list.txt").read_text().split()[::3]
    space = starter.manifest.input_space
    pictures = np.stack([to_square(read_radiograph(root / "images" / n).pixels, space) for n in names])
    assert accepted(starter, pictures).mean() >= 0.98


def test_the_starter_refuses_spoiled_images_as_its_card_says(starter: Predictor, test_data: Path) -> None:
    root = test_data / "nih-sample"
    names = (root / "test_list.txt").read_text().split()[1::8]
    space = starter.manifest.input_space
    pictures = np.stack([to_square(read_radiograph(root / "images" / n).pixels, space) for n in names])
    figures = starter.manifest.metrics["gate"]["refused"]
    assert accepted(starter, varied(pictures, seed=5)).mean() >= 0.9
    assert accepted(starter, other_radiographs(space.size, 30, seed=987_654)).mean() <= 0.1
    for kind in SPOILED:
        refused = 1 - accepted(starter, spoiled(pictures, kind, seed=9)).mean()
        assert figures[kind] >= 0.9, kind
        assert refused >= 0.8, kind


def test_the_starter_refuses_other_pictures(starter: Predictor, test_data: Path) -> None:
    assert not accepted(starter, generated(starter.manifest.input_space.size, 30, seed=987_654)).any()
    for path in sorted((test_data / "dicom" / "other").iterdir()):
        try:
            attributes = inspect(path)
        except Exception:  # noqa: S112 - refused even earlier
            continue
        by_tags = check_attributes(attributes.attributes, attributes.sop_class_uid, attributes.rows, attributes.columns)
        assert not by_tags.accepted
        picture = to_square(read_radiograph(path).pixels, starter.manifest.input_space)
        assert not accepted(starter, picture[None])[0], path.name


def test_the_starter_accepts_a_real_dicom_image(starter: Predictor, test_data: Path) -> None:
    (path,) = (test_data / "dicom" / "chest").iterdir()
    read = inspect(path)
    assert check_attributes(read.attributes, read.sop_class_uid, read.rows, read.columns).accepted
    picture = to_square(read_radiograph(path).pixels, starter.manifest.input_space)
    assert accepted(starter, picture[None])[0]
