"""The JSON schema of a manifest's descriptive parts, on which pages and the API rely."""

from collections.abc import Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator

from apps.core.errors import InvalidInputError
from apps.registry import engine

_DEEPEST: Final = 12
_NUMBER: Final = {"type": ["number", "null"]}
_INTERVAL: Final = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_VERTEX: Final = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
# Figures of one split; other parts, such as the history of a training, are only listed.
_FIGURES: Final = {
    "properties": {
        "mean_auroc": _NUMBER,
        "ci95": _INTERVAL,
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "object", "properties": {"auroc": _NUMBER, "ci95": _INTERVAL}},
        },
    },
}


def _schema(labels: tuple[str, ...]) -> Mapping[str, Any]:
    point = {
        "type": ["object", "null"],
        "properties": {
            "value": {"type": "number"},
            "strategy": {"type": "string", "maxLength": 40},
            "positives": {"type": ["integer", "null"], "minimum": 0},
        },
    }
    curves = {
        "type": "object",
        "propertyNames": {"enum": list(labels)},
        "additionalProperties": {"type": "array", "items": _VERTEX, "minItems": 1},
    }
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 100},
            "architecture": {"type": "string", "maxLength": 100},
            "card": {"type": "string"},
            "thresholds": {"type": "object", "additionalProperties": point},
            "threshold_notes": {"type": "object", "additionalProperties": {"type": "string"}},
            "metrics": {
                "type": "object",
                "properties": {
                    "test": {**_FIGURES, "type": "object"},
                    "operating_curve": {"type": "object", "properties": {"validation": curves}},
                },
                "additionalProperties": _FIGURES,
            },
            "data": {"type": "object"},
        },
    }


def check_manifest_shape(manifest: "engine.Manifest") -> None:
    """Refuse a manifest whose figures, operating points, notes or data do not match the schema.

    Raises:
        InvalidInputError: the detail names the first such part.
    """
    value = manifest.to_dict()
    if _depth(value) > _DEEPEST:
        raise InvalidInputError(f"The manifest nests deeper than {_DEEPEST} levels.", "artifact-manifest-invalid")
    error = next(iter(Draft202012Validator(_schema(manifest.labels)).iter_errors(value)), None)
    if error is not None:
        raise InvalidInputError(
            f"The manifest's {error.json_path.removeprefix('$.')} is not what a training or an import writes: "
            f"{error.message[:200]}.",
            "artifact-manifest-invalid",
        )


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        each, level = waiting.pop()
        deepest = max(deepest, level)
        inner = each.values() if isinstance(each, Mapping) else each if isinstance(each, list | tuple) else ()
        waiting += [(part, level + 1) for part in inner if isinstance(part, Mapping | list | tuple)]
    return deepest
