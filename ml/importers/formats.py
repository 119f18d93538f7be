"""Convert each supported file format: names of the outputs, input space and thresholds."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from numpy.typing import NDArray

from ml.importers.errors import ImportRefused
from ml.importers.keys import Mapped, map_tensors
from ml.importers.options import Options
from ml.importers.outputs import Choice, choose, finding, select
from ml.importers.source import Source
from ml.importers.xrv_releases import PATHOLOGIES, RELEASES, Release, find
from ml.labels import LABELS
from ml.model.manifest import Threshold
from ml.model.transforms import IMAGENET_MEAN, IMAGENET_STD, InputSpace

XRV_MEAN: Final = 0.5
XRV_STD: Final = 1 / 2048
"""(v / 255 - 0.5) / (1 / 2048) equals TorchXRayVision's (2 v / 255 - 1) * 1024 exactly."""

_XRV_SPACE: Final = InputSpace(224, "square", "gaussian", mean=(XRV_MEAN,) * 3, std=(XRV_STD,) * 3)
_TORCHVISION_SPACE: Final = InputSpace(224, "crop", "bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
_HEAD_LAYERS: Final = frozenset({"Linear", "Sigmoid", "Sequential", "Dropout", "Identity"})
_HEAD_PATH: Final = re.compile(r"(?:.*\.)?(?:classifier|fc|head|last_linear)(?:\.|\Z)")


@dataclass(frozen=True, eq=False)
class Converted:
    """A network in our own layout, with everything that the file contains.

    `thresholds` are for the sigmoid of the logit; `dropped` lists omitted tensors and outputs with the reason.
    """

    architecture: str
    space: InputSpace
    choice: Choice
    tensors: dict[str, NDArray[Any]]
    dropped: Mapping[str, str]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def convert(source: Source, options: Options) -> Converted:
    """Convert a file of the format `options.format` ("xrv", "chexnet" or "state-dict").

    Raises:
        ImportRefused: the file does not fit the format.
    """
    _check_layers(source.facts.get("layers", {}))
    return {"xrv": _xrv, "chexnet": _chexnet, "state-dict": _state_dict}[options.format](source, options)


def _xrv(source: Source, options: Options) -> Converted:
    """Convert TorchXRayVision's DenseNet (a pickled module) and ResNet50 (a state dict)."""
    tensors = dict(source.tensors)
    stated = tensors.pop("op_threshs", None)
    mapped = map_tensors(tensors, options.architecture, options.drop, options.size)
    if not mapped.one_channel:
        raise ImportRefused(
            "The first layer takes three channels; TorchXRayVision's take one. Use --format state-dict."
        )
    release = _release(source, options)
    names = options.labels or _xrv_names(source, release, mapped.outputs)
    choice = choose(names, mapped.outputs)
    values = _by_name(names, stated) if stated is not None else dict(release.thresholds) if release else {}
    thresholds, notes = _xrv_thresholds(values, mapped.architecture)
    size = release.size if release else 512 if mapped.architecture.startswith("resnet") else _XRV_SPACE.size
    if release:
        notes.insert(0, f"Known as TorchXRayVision's {release.name}.")
    notes.append("The one-channel stem is shared over three equal channels, exactly.")
    return _converted(
        mapped,
        choice,
        _space(replace(_XRV_SPACE, size=size), options),
        thresholds={
            label: Threshold(value, "imported", None) for label, value in thresholds.items() if label in choice.labels
        },
        notes=notes,
    )


def _release(source: Source, options: Options) -> Release | None:
    try:
        return find(options.release, source.name)
    except KeyError as error:
        raise ImportRefused(f"Unknown release {error}. Known: {', '.join(RELEASES)}.") from error


def _xrv_names(source: Source, release: Release | None, outputs: int) -> Sequence[str]:
    # The module names all outputs of its data sets; the library's table names only those that were trained.
    if release is not None:
        return tuple(name if name in release.labels else "" for name in PATHOLOGIES)
    for attribute in ("targets", "pathologies", "labels"):
        names = source.attributes.get(attribute)
        if isinstance(names, list) and len(names) == outputs:
            return names
    return PATHOLOGIES


def _by_name(names: Sequence[str], values: NDArray[Any]) -> dict[str, float]:
    if values.shape != (len(names),):
        raise ImportRefused(f"The file has {len(names)} outputs but thresholds of shape {values.shape}.")
    return {name: float(value) for name, value in zip(names, values, strict=True) if name and math.isfinite(value)}


def _xrv_thresholds(values: Mapping[str, float], architecture: str) -> tuple[dict[str, float], list[str]]:
    """Thresholds by label for the plain sigmoid.

    Those of the ResNet were chosen on the sigmoid of a sigmoid, so all are between sigmoid(0) and sigmoid(1).
    """
    notes = []
    if values and architecture.startswith("resnet") and all(0.5 < t < 1 / (1 + math.exp(-1)) for t in values.values()):
        values = {name: math.log(t / (1 - t)) for name, t in values.items()}
        notes.append("The source applied the sigmoid twice when it chose its thresholds; they are converted back.")
    wrong = [name for name, value in values.items() if not 0 < value < 1]
    if wrong:
        raise ImportRefused(f"The threshold of {wrong[0]} is {values[wrong[0]]}, not between 0 and 1.")
    if values:
        notes.append(
            "Probabilities are the plain sigmoid; the library's own are rescaled so that each threshold is 0.5."
        )
    return {label: value for name, value in values.items() if (label := finding(name))}, notes


def _chexnet(source: Source, options: Options) -> Converted:
    """Convert CheXNet reproductions: torchvision's DenseNet, old or new names, head `Sequential(Linear, Sigmoid)`."""
    mapped = map_tensors(source.tensors, options.architecture, options.drop, options.size)
    if mapped.one_channel:
        raise ImportRefused("The first layer takes one channel; CheXNet's takes three. Use --format state-dict or xrv.")
    return _converted(mapped, choose(options.labels or LABELS, mapped.outputs), _space(_TORCHVISION_SPACE, options))


def _state_dict(source: Source, options: Options) -> Converted:
    """Convert a plain state dict of torchvision or timm."""
    mapped = map_tensors(source.tensors, options.architecture, options.drop, options.size)
    if mapped.one_channel and not (options.mean and options.std and len({*options.mean}) == len({*options.std}) == 1):
        raise ImportRefused(
            "The first layer takes one channel: give its normalisation with --mean and --std, one value each."
        )
    notes = [] if options.labels else ["No --labels given: the outputs are taken to be in the order of ChestX-ray14."]
    return _converted(
        mapped, choose(options.labels or LABELS, mapped.outputs), _space(_TORCHVISION_SPACE, options), notes=notes
    )


def _converted(
    mapped: Mapped,
    choice: Choice,
    space: InputSpace,
    *,
    thresholds: Mapping[str, Threshold] | None = None,
    notes: Sequence[str] = (),
) -> Converted:
    dropped = {**mapped.dropped, **dict.fromkeys(choice.dropped, "no finding of ChestX-ray14")}
    return Converted(
        mapped.architecture, space, choice, select(mapped.tensors, choice), dropped, thresholds or {}, tuple(notes)
    )


def _space(default: InputSpace, options: Options) -> InputSpace:
    changes: dict[str, Any] = {
        name: value for name in ("size", "fit", "resize") if (value := getattr(options, name)) is not None
    }
    for name in ("mean", "std"):
        values = getattr(options, name)
        if values is not None:
            if len(values) not in (1, 3):
                raise ImportRefused(f"--{name} takes one value or three.")
            changes[name] = tuple(values) * (3 // len(values))
    try:
        return replace(default, **changes)
    except ValueError as error:
        raise ImportRefused(str(error)) from error


def _check_layers(layers: Mapping[str, str]) -> None:
    """Check the layers of a pickled module: the same tensors also fit networks that compute something else."""
    for path, kind in layers.items():
        family, _, name = kind.rpartition(".")
        in_head = bool(_HEAD_PATH.match(path))
        if in_head and name not in _HEAD_LAYERS:
            raise ImportRefused(f"The head holds a {name} ({path}): only one linear layer has exact activation maps.")
        if not in_head and family.endswith("nn.modules.activation") and name not in ("ReLU", "SiLU"):
            raise ImportRefused(f"{path} is a {name}; the networks known here use ReLU or SiLU.")
