"""Two versions that no worker loads: the second scores lower, so the same threshold flags less."""

from dataclasses import replace
from typing import Any

from apps.registry.models import ModelVersion
from ml.model.manifest import Manifest, Threshold
from tests.results import manifest

# Threshold, sensitivity, specificity.
CURVE = [[0.8, 0.3, 1.0], [0.6, 0.6, 0.9], [0.4, 0.8, 0.7], [0.2, 0.95, 0.4], [0.1, 1.0, 0.0]]


def described(number: int, scale: float = 1.0, *, curve: bool = True) -> Manifest:
    """A version whose thresholds are `scale` times the first one's."""
    plain = manifest()
    points: dict[str, Threshold | None] = {
        label: point and Threshold(point.value * scale, point.strategy, point.positives)
        for label, point in plain.thresholds.items()
    }
    own = {label: [[value * scale, *rest] for value, *rest in CURVE] for label in plain.labels if points[label]}
    metrics: dict[str, Any] = dict(plain.metrics)
    if curve:
        metrics["operating_curve"] = {"validation": own}
    return replace(plain, thresholds=points, metrics=metrics, card=f"{plain.card} Number {number}.")


def registered(number: int, scale: float = 1.0, *, curve: bool = True) -> ModelVersion:
    made = described(number, scale, curve=curve)
    return ModelVersion.objects.create(
        name="chest-net", number=number, sha256=made.sha256, manifest=made.to_dict(), device_uid=f"2.25.10{number}"
    )
