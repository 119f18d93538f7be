"""Drift: whether one week's outputs of a version still look like those of a reference.

Each figure is a test against the reference, whose own size counts: a rank test for the probabilities, and the
beta-binomial distribution for shares. So neither the shape of a distribution nor a rare finding makes false alarms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.model.calibration import calibrate
from ml.model.held_out import read_held_out
from ml.model.manifest import read_manifest

FALSE_ALARMS_PER_YEAR = 0.01
"""The chance that any figure of a hospital in control raises an alarm within a year of weeks."""
WEEKS = 52
FEWEST = 20
"""A week with fewer readings is shown and not tested."""
_MOST_KEPT = 1001

Share = tuple[int, int]
"""A count, and of how many."""


@dataclass(frozen=True, eq=False)
class Readings:
    """Outputs on films of different patients.

    Attributes:
        films: how many were read.
        probabilities: the version's own calibrated probabilities (N,), 0 to 1, by label; in a reference sorted, and at
            most `_MOST_KEPT` of them.
        refused: films that the input check refused, of all that came; None where it is not known.
        ap: films whose view is AP, of those that are PA or AP; None where it is not known.
    """

    films: int
    probabilities: Mapping[str, NDArray[np.float64]]
    refused: Share | None
    ap: Share | None

    def as_reference(self) -> dict[str, Any]:
        """JSON-ready form of a reference: of each label evenly thinned order statistics."""
        kept = {label: _thinned(np.sort(values)) for label, values in self.probabilities.items()}
        return {"films": self.films, "probabilities": kept, "refused": self.refused, "ap": self.ap}

    @classmethod
    def of_reference(cls, stored: Mapping[str, Any]) -> "Readings":
        """The inverse of `as_reference`."""
        values = {label: np.array(each, dtype=np.float64) for label, each in stored["probabilities"].items()}
        shares = [None if stored[name] is None else (stored[name][0], stored[name][1]) for name in ("refused", "ap")]
        return cls(stored["films"], values, *shares)


def held_out_readings(directory: Path) -> Readings | None:
    """The reference that a version brings along: its outputs on films that it was calibrated on, one of each
    patient; None without them.

    The refused share is that of the input check on real films, where the manifest records it.

    Raises:
        ArtifactInvalid: the artifact cannot be read.
    """
    manifest, record = read_manifest(directory), read_held_out(directory)
    if record is None or not len(record.logits):
        return None
    _, first = np.unique(record.patients, return_index=True)
    values = calibrate(record.logits[first], manifest.labels, manifest.calibration)
    checked = manifest.metrics.get("gate", {})
    films, share = checked.get("films"), checked.get("refused_films")
    known = [view for view in record.views[first] if view in ("PA", "AP")]
    return Readings(
        films=len(values),
        probabilities={label: values[:, column] for column, label in enumerate(manifest.labels)},
        refused=(round(share * films), films) if films and share is not None else None,
        ap=(known.count("AP"), len(known)) if known else None,
    )


@dataclass(frozen=True)
class Figure:
    """One figure of a week beside the reference's; `what` is probability, flagged, refused or AP view."""

    what: str
    label: str
    value: float
    expected: float
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        return self.__dict__


def figures_of(week: Readings, reference: Readings, thresholds: Mapping[str, float | None]) -> list[Figure]:
    """Every figure of a week that the reference has too; none where the week has fewer than `FEWEST` readings.

    Args:
        thresholds: by label, on the version's own probabilities; flags of both are counted at the same ones.
    """
    found = []
    for label in reference.probabilities if week.films >= FEWEST else ():
        values, known = week.probabilities.get(label), reference.probabilities[label]
        if values is None or not len(values) or not len(known):
            continue
        p_value = _rank_test(values, known, reference.films)
        found.append(Figure("probability", label, float(values.mean()), float(known.mean()), p_value))
        point = thresholds.get(label)
        if point is not None:
            flagged = (int((values >= point).sum()), len(values))
            share = float((known >= point).mean())
            found.append(_share("flagged", label, flagged, (round(share * reference.films), reference.films)))
    for what, mine, theirs in (("refused", week.refused, reference.refused), ("AP view", week.ap, reference.ap)):
        if mine is not None and theirs is not None and mine[1] >= FEWEST and theirs[1]:
            found.append(_share(what, "", mine, theirs))
    return found


def alarm_limit(figures: int) -> float:
    """The p-value below which one of so many figures raises an alarm (Bonferroni over the figures and a year)."""
    return FALSE_ALARMS_PER_YEAR / WEEKS / max(1, figures)


def alarms_of(figures: Sequence[Figure]) -> list[Figure]:
    """The figures outside the control limits, the most certain one first."""
    limit = alarm_limit(len(figures))
    return sorted((each for each in figures if each.p_value < limit), key=lambda each: each.p_value)


def _thinned(values: NDArray[np.float64]) -> list[float]:
    if len(values) > _MOST_KEPT:
        values = values[np.linspace(0, len(values) - 1, _MOST_KEPT).round().astype(int)]
    return [round(float(value), 7) for value in values]


def _rank_test(values: NDArray[np.float64], known: NDArray[np.float64], films: int) -> float:
    """Two-sided p-value of Mann and Whitney's test, by its normal approximation."""
    known = np.sort(known)
    below = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    mean = float((below / (2.0 * len(known))).mean())
    n = len(values)
    return math.erfc(abs(mean - 0.5) / math.sqrt((n + films + 1) / (12.0 * n * films)) / math.sqrt(2.0))


def _share(what: str, label: str, mine: Share, theirs: Share) -> Figure:
    p_value = beta_binomial(mine, theirs)
    return Figure(what, label, mine[0] / mine[1], theirs[0] / theirs[1], p_value)


def beta_binomial(mine: Share, theirs: Share) -> float:
    """Two-sided p-value of a count, if its share is that of the reference (Jeffreys prior)."""
    count, n = mine
    a, b = theirs[0] + 0.5, theirs[1] - theirs[0] + 0.5
    total = math.lgamma(n + 1) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.lgamma(n + a + b)
    weights = [
        math.exp(total - math.lgamma(k + 1) - math.lgamma(n - k + 1) + math.lgamma(k + a) + math.lgamma(n - k + b))
        for k in range(n + 1)
    ]
    return min(1.0, 2.0 * min(math.fsum(weights[: count + 1]), math.fsum(weights[count:])))
