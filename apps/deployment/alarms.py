"""How many normal films a version flags at given operating points, and points that keep an alarm budget.

Both are computed from the outputs that the artifact carries of the films its operating points were chosen on.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from apps.core.errors import InvalidInputError, UnavailableError
from apps.core.finding_names import finding_name
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact

logger = logging.getLogger(__name__)
_FEWEST_POSITIVES = 10


@dataclass(frozen=True)
class AlarmFigures:
    """Flagged films, as shares 0 to 1, of those without and with a finding; `normals` and `findings` count these."""

    normals_flagged: float
    findings_flagged: float
    normals: int
    findings: int

    def __str__(self) -> str:
        return (
            f"Of 100 normal films about {100 * self.normals_flagged:.0f} are flagged, of 100 with a finding about "
            f"{100 * self.findings_flagged:.0f} (on the {self.normals} normal and {self.findings} other films on which "
            "the version's operating points were chosen)."
        )


def alarm_figures(version: ModelVersion, thresholds: Mapping[str, float | None]) -> AlarmFigures | None:
    """What these operating points do to films that the version was measured on.

    Returns:
        None for a version without held-out outputs, or without normal films or films with a finding among them.
    """
    try:
        held_out = _held_out(version)
    except (OSError, UnavailableError):
        # A page that shows these figures beside others must not fail with the storage.
        logger.exception("The held-out outputs of %s could not be read.", version)
        return None
    if held_out is None:
        return None
    record, probabilities = held_out
    labels = list(version.manifest["labels"])
    points = np.array([np.inf if (point := thresholds.get(label)) is None else point for label in labels])
    found = engine.alarms(probabilities >= points, record.truth, record.views, labels)
    normals, findings = found["share"], found["findings_flagged"]["share"]
    if normals is None or findings is None:
        return None
    return AlarmFigures(normals, findings, found["n"], found["findings_flagged"]["n"])


def budget_point(version: ModelVersion, label: str, joint: float) -> float:
    """The threshold of one finding where at most the share `joint` of the normal films is flagged by any finding.

    Raises:
        InvalidInputError: the version has no held-out outputs, or too few normal films or films with this finding.
    """
    held_out = _held_out(version)
    if held_out is None:
        raise InvalidInputError(
            _("%(version)s came without the outputs that an alarm budget is computed from: choose another strategy.")
            % {"version": version},
            "no-held-out-outputs",
        )
    record, probabilities = held_out
    usable = (record.truth > 0).sum(axis=0) >= _FEWEST_POSITIVES
    try:
        found = engine.AlarmBudget(joint=joint).thresholds(
            probabilities, record.truth, record.views, record.patients, usable
        )
    except ValueError as error:
        raise InvalidInputError(
            _("%(label)s: %(error)s") % {"label": finding_name(label), "error": error}, "too-few-normals"
        ) from error
    value = float(found[list(version.manifest["labels"]).index(label)])
    if not np.isfinite(value):
        raise InvalidInputError(
            _("%(label)s: %(version)s was measured on fewer than %(value)s positive films.")
            % {"label": finding_name(label), "version": version, "value": _FEWEST_POSITIVES},
            "too-few-positives",
        )
    return value


@lru_cache(maxsize=8)
def _held_out(version: ModelVersion) -> tuple["engine.HeldOutRecord", NDArray[np.float64]] | None:
    """The version's held-out outputs, and their calibrated probabilities; cached, because they never change."""
    record = engine.read_held_out(fetch_artifact(version))
    if record is None:
        return None
    manifest = engine.Manifest.from_dict(version.manifest)
    return record, engine.calibrate(record.logits, manifest.labels, manifest.calibration)
