"""The input check: decide whether the model may score an image, that is, whether it is a frontal chest radiograph.

It has two steps, and both can be explained. The first reads the DICOM attributes of the image. The second computes two
statistics on the network's pooled features: linear classifiers between whole upright frontal chest radiographs and each
kind of other picture (KINDS), and the Mahalanobis distance to the validation images (Lee et al. 2018). Cao et al. 2022
found simple classifiers on a model's own features the best detectors for chest radiographs. A refused image gets a
reason and no score.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.dicom.acquisition import not_an_acquisition, plain_text
from ml.dicom.pixel_aspect import pixel_ratio
from ml.dicom.storage_classes import COMPUTED_RADIOGRAPHY, DX_FOR_PRESENTATION, DX_FOR_PROCESSING, SECONDARY_CAPTURE

CODES: dict[str, str] = {
    "not-radiography": "This is not a radiograph: only CR and DX images are read.",
    "not-chest": "The image is labelled as another part of the body than the chest.",
    "not-frontal": "The film is labelled as a lateral, oblique or decubitus view; only frontal films are read.",
    "too-small": "The film has too few pixels to be read.",
    "aspect-ratio": "The film is far from the shape of a chest film.",
    "derived-image": "This was made from other images (screen capture, annotation, analysis), so it is "
    "stored and not read.",
    "own-object": "Checxray itself made this object, so it is stored and not read.",
    "not-for-clinical-use": "The image is marked as made for research or service, not for clinical use.",
    "for-processing": "The image is For Processing: only an image For Presentation is read. Send that one as well.",
    "multi-frame": "The object has more than one frame: only single-frame radiographs are read.",
    "codestream-mismatch": "The compressed image contradicts its own description (its sign, Pixel Representation, or "
    "bits), so its grey values are uncertain. Export it again from its source.",
    "image-rejected": "The image was rejected.",
    "stored-by-rule": "A rule of the hospital stores this image without having it read.",
    "no-image": "The study has no image.",
    "not-chest-film": "The picture does not look like an upright, non-inverted frontal chest film.",
    "unlike-training": "The film is unlike those that this model version was validated on.",
}

MIN_SIDE = 200
ASPECT = (0.6, 1.67)

_CR_DX = {COMPUTED_RADIOGRAPHY, DX_FOR_PRESENTATION, DX_FOR_PROCESSING}
_RADIOGRAPHY = {"CR", "DX", "RG"}
_UNSPECIFIC = {"OT", "SC"}
_FRONTAL = re.compile(r"\b(PA|AP|FRONTAL|POSTEROANTERIOR|ANTEROPOSTERIOR)\b")
_LATERAL = re.compile(r"\b(LL|RL|LAT|LATERAL|LLD|RLD|DECUB(ITUS)?|OBL(IQUE)?|LAO|RAO|LPO|RPO)\b")
_CHEST = re.compile(r"CHEST|THORAX|LUNG|TORAX|POUMON|BRUST")


@dataclass(frozen=True)
class InputCheckResult:
    """Outcome for one image: `reason` is a key of CODES when refused; `detail` is a sentence for a clinician."""

    accepted: bool
    reason: str | None = None
    detail: str = ""


ACCEPTED = InputCheckResult(True)


def _refuse(reason: str, detail: str = "") -> InputCheckResult:
    return InputCheckResult(False, reason, f"{CODES[reason]} {detail}".strip())


def check_attributes(
    attributes: Mapping[str, str], sop_class_uid: str | None, rows: int, columns: int, unreadable: str = ""
) -> InputCheckResult:
    """Check an image by its attributes and its size, without its pixels.

    An absent attribute is not a reason to refuse; one that contradicts a frontal chest radiograph is (PS3.3 C.7.3.1.1.1
    Modality, C.7.6.1.1.2 Image Type, C.8.11.5 DX positioning, Annex L body parts).

    Args:
        attributes: DICOM keyword -> text, as the preflight reads them.
        sop_class_uid: None or "" for a PNG or JPEG.
        rows, columns: size in pixels.
        unreadable: the field of the same name in `ml.dicom.preflight.Preflight`.
    """
    modality = plain_text(attributes, "Modality")
    captured = not sop_class_uid or sop_class_uid.startswith(SECONDARY_CAPTURE)
    if not captured and sop_class_uid not in _CR_DX:
        return _refuse("not-radiography")
    if modality and modality not in _RADIOGRAPHY and not (captured and modality in _UNSPECIFIC):
        return _refuse("not-radiography")
    reason = unreadable or not_an_acquisition(attributes, sop_class_uid)
    if reason:
        return _refuse(reason)
    body_part = plain_text(attributes, "BodyPartExamined")
    if body_part and not _CHEST.search(body_part):
        return _refuse("not-chest")
    if _is_lateral(attributes):
        return _refuse("not-frontal")
    if min(rows, columns) < MIN_SIDE:
        return _refuse("too-small", f"It is {columns} x {rows}; at least {MIN_SIDE} pixels a side are needed.")
    ratio, _ = pixel_ratio(attributes)
    if not ASPECT[0] <= columns / (rows * ratio) <= ASPECT[1]:
        return _refuse("aspect-ratio", f"It is {columns} x {rows} pixels.")
    return ACCEPTED


def _is_lateral(attributes: Mapping[str, str]) -> bool:
    view = plain_text(attributes, "ViewPosition")
    if view:
        return bool(_LATERAL.search(view)) and not _FRONTAL.search(view)
    # In a frontal image the rows run towards the patient's left or right, in a lateral one towards front or back.
    orientation = plain_text(attributes, "PatientOrientation")
    if orientation[:1] in ("A", "P"):
        return True
    series = plain_text(attributes, "SeriesDescription")
    return bool(_LATERAL.search(series)) and not _FRONTAL.search(series)


KINDS: dict[str, str] = {
    "inverted": "a negative (bone dark)",
    "turned": "a film that is turned",
    "part": "a part of a film",
    "shuffled": "pieces of a film in another order",
    "shrunk": "a film that fills only a part of the picture",
    "screenshot": "a screenshot",
    "blurred": "a blurred film",
    "saturated": "a film whose grey values are cut off",
    "radiograph": "another radiograph than a frontal chest film",
    "picture": "no radiograph",
}
"""What the classifiers tell from a whole upright frontal chest film, in the order of their weights; for the reader."""

_ARRAYS = ("mean", "scale", "weight", "bias", "basis", "variance")
_NUMBERS = ("min_score", "residual", "max_distance")


@dataclass(frozen=True, eq=False)
class FeatureCheck:
    """Parameters of the feature statistics of one model version (C features, R classifiers, K principal directions).

    Attributes:
        mean, scale: (C,), standardisation by the validation images.
        weight, bias: (R, C) and (R,), one linear classifier for each of KINDS; positive where the image is not of that
            kind. Versions from before there was a classifier for each kind have one for all of them.
        min_score: subtracted from the classifiers' score; what is negative then is not a chest radiograph.
        basis, variance, residual: (C, K), (K,) and a number, the covariance as a factor model.
        max_distance: largest Mahalanobis distance, divided by C, that is accepted.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    min_score: float
    basis: NDArray[np.float32]
    variance: NDArray[np.float32]
    residual: float
    max_distance: float

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The arrays, as the weights file of the artifact stores them."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def scalars(self) -> dict[str, float]:
        """The scalars, as the manifest stores them."""
        return {name: getattr(self, name) for name in _NUMBERS}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, NDArray[Any]], scalars: Mapping[str, float]) -> "FeatureCheck":
        """Inverse of `tensors` and `scalars`. Raises ValueError when parts are missing or of unequal shape."""
        try:
            # With a single classifier its bias is among the scalars.
            bias = tensors["bias"] if "bias" in tensors else np.array([scalars["bias"]])
            found = {**tensors, "weight": np.atleast_2d(tensors["weight"]), "bias": bias}
            arrays = {name: np.asarray(found[name], dtype=np.float32) for name in _ARRAYS}
            numbers = {name: float(scalars[name]) for name in _NUMBERS}
            parameters: dict[str, Any] = {**arrays, **numbers}
            check = cls(**parameters)
        except (KeyError, TypeError) as error:
            raise ValueError(f"The input check's parameters are incomplete: {error}.") from error
        features = check.mean.shape
        if (
            check.scale.shape != features
            or check.weight.shape != (len(check.bias), *features)
            or check.basis.ndim != 2
            or check.basis.shape != (features[0], len(check.variance))
        ):
            raise ValueError("The input check's parameters have unequal shapes.")
        return check

    def margins(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Log odds (N, R) of pooled features (N, C) that an image is a whole chest radiograph and not of each kind."""
        z = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        return np.asarray(z @ self.weight.T + self.bias)

    def score(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Log odds (N,) against all kinds together, less `min_score`; an image with a negative score is refused."""
        return np.asarray(-np.logaddexp.reduce(-self.margins(features), axis=1) - self.min_score)

    def distance(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Squared Mahalanobis distance per feature, (N,), about 1 for a typical image."""
        z = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        inside = z @ self.basis
        outside = np.maximum((z * z).sum(axis=1) - (inside * inside).sum(axis=1), 0.0)
        return np.asarray(((inside * inside / self.variance).sum(axis=1) + outside / self.residual) / z.shape[1])


def check_features(features: NDArray[Any], params: FeatureCheck | None) -> list[InputCheckResult]:
    """Check images by their pooled features (N, C); a version without parameters accepts all.

    Non-finite features are refused as "unlike-training".
    """
    if params is None:
        return [ACCEPTED] * len(features)
    finite = np.isfinite(features).all(axis=1)
    safe = np.where(finite[:, None], features, 0.0)
    scores, distances, nearest = params.score(safe), params.distance(safe), params.margins(safe).argmin(axis=1)
    results = []
    for ok, score, distance, kind in zip(finite, scores, distances, nearest, strict=True):
        if ok and score < 0:
            results.append(_refuse("not-chest-film", _likeness(int(kind), params)))
        else:
            results.append(ACCEPTED if ok and distance <= params.max_distance else _refuse("unlike-training"))
    return results


def _likeness(kind: int, params: FeatureCheck) -> str:
    return f"It looks most like {list(KINDS.values())[kind]}." if len(params.bias) == len(KINDS) else ""
