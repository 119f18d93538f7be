"""Map foreign tensor names to those of `ml.model.networks`. Every tensor is used, listed as left out, or refused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ml.importers.errors import ImportRefused
from ml.model.feature_weights import fitting_name
from ml.model.networks import ARCHITECTURES, CamNetwork, build

STEM_SHARES: Final = (0.5, 0.25, 0.25)
"""Factors that divide a one-channel stem among three equal channels: powers of two, so no weight is rounded."""

_HEAD: Final = re.compile(
    r"(?:module\.|model\.|densenet\d+\.|backbone\.|net\.)*(classifier|fc|head|head\.fc|last_linear)(?:\.[0-4])?\.(weight|bias)\Z"
)
_COUNTERS: Final = "num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Mapped:
    """Tensors under the names of a `CamNetwork`, with a head for every output of the file, and what was left out."""

    architecture: str
    tensors: dict[str, NDArray[Any]]
    dropped: Mapping[str, str]
    one_channel: bool

    @property
    def outputs(self) -> int:
        """Number of outputs in the file."""
        return len(self.tensors["classifier.bias"])


def map_tensors(
    tensors: Mapping[str, NDArray[Any]], architecture: str | None, drop: Sequence[str] = (), size: int | None = None
) -> Mapped:
    """Map tensors to an architecture; without one, to the first of torchvision's that has all of their names.

    `size` is the side of the input, which the position embeddings of transformers depend on.

    A stem with one channel becomes one with three (`STEM_SHARES`), with the same result for three equal channels.

    Raises:
        ImportRefused: names or shapes do not fit. The message has the first ones.
    """
    left_out = {key: "left out by --drop" for key in tensors if drop and key.startswith(tuple(drop))}
    kept = {key: value for key, value in tensors.items() if key not in left_out}
    head, features = _split_head(kept)
    architecture = architecture or _recognised(features)
    network = _network(architecture, size or 224)
    wanted = {key: tuple(value.shape) for key, value in network.features.state_dict().items()}
    found = _renamed(features, wanted, architecture)
    one_channel = _fold_stem(found, wanted)
    _check(found, wanted, architecture)
    for key in wanted:
        if key not in found:
            found[key] = np.zeros(wanted[key], np.int64)
    channels = network.classifier.in_features
    if head["classifier.weight"].shape[1] != channels:
        raise ImportRefused(
            f"The head takes {head['classifier.weight'].shape[1]} features, {architecture} gives {channels}: "
            "another architecture, or more than pooling between them. Name the right one with --arch."
        )
    result = {f"features.{key}": value for key, value in found.items()} | head
    whole = [key for key, value in result.items() if value.dtype.kind != "f" and not key.endswith(_COUNTERS)]
    if whole:
        raise ImportRefused(f"{whole[0]} holds whole numbers, which no training gives: save the model as float32.")
    bad = [key for key, value in result.items() if value.dtype.kind == "f" and not np.isfinite(value).all()]
    if bad:
        raise ImportRefused(f"{bad[0]} holds NaN or infinity: the file is damaged, or its training broke down.")
    return Mapped(architecture, result, left_out, one_channel)


def _split_head(tensors: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    matches = {key: match for key in tensors if (match := _HEAD.match(key))}
    weights = [key for key, match in matches.items() if match[2] == "weight"]
    if len(weights) != 1:
        raise ImportRefused(
            f"Expected one linear head (classifier, fc or head), found {', '.join(weights[:3]) or 'none'}. "
            "Only networks that end in average pooling and one linear layer have exact class activation maps."
        )
    weight = tensors[weights[0]]
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight[:, :, 0, 0]
    bias = tensors.get(weights[0].removesuffix("weight") + "bias", np.zeros(len(weight), np.float32))
    if weight.dtype.kind != "f":
        raise ImportRefused(f"The head {weights[0]} holds {weight.dtype}, not floating point: save it as float32.")
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ImportRefused(f"The head {weights[0]} has shape {weight.shape}: it is not one linear layer.")
    head = {"classifier.weight": weight, "classifier.bias": bias}
    return head, {key: value for key, value in tensors.items() if key not in matches}


def _network(architecture: str, size: int) -> CamNetwork:
    try:
        network = build(architecture, 1, size=size)
    except ValueError as error:
        raise ImportRefused(f"{error} Name another one with --arch.") from error
    if getattr(network.features, "layout", None) == "tokens":
        # Our mean over patch tokens would take the file's tensors and give other answers than their source.
        raise ImportRefused(
            f"{architecture} is a transformer, and a file of tensors does not say how its tokens are pooled. Name "
            f"--arch {architecture}+own for timm's own pooling; there is no exact heatmap then."
        )
    return network


def _recognised(features: Mapping[str, NDArray[Any]]) -> str:
    nearest: tuple[int, str, list[str]] = (0, "", list(features))
    for architecture in ARCHITECTURES:
        # Only names and shapes are needed; the device "meta" allocates no numbers.
        with torch.device("meta"):
            wanted = build(architecture, 1).features.state_dict()
        names = {key: fitting_name(key, wanted) for key in features}
        odd = [key for key, name in names.items() if name is None]
        odd += [key for key in wanted if key not in names.values() and not key.endswith(_COUNTERS)]
        if not odd:
            return architecture
        nearest = max(nearest, (len(names) - len(odd), architecture, odd), key=lambda each: each[0])
    _, closest, odd = nearest
    fits = f"most are those of {closest}, but not {', '.join(odd[:3])}" if closest else f"{', '.join(odd[:3])}, ..."
    raise ImportRefused(
        f"The tensors are those of none of {', '.join(ARCHITECTURES)}: {fits}. Name the architecture with --arch (any "
        "timm name, such as resnet18), or tensors to leave out with --drop; TorchXRayVision's files take --format xrv."
    )


def _renamed(
    features: Mapping[str, NDArray[Any]], wanted: Mapping[str, Any], architecture: str
) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    unknown: list[str] = []
    for key, value in features.items():
        name = fitting_name(key, wanted)
        if name is None:
            unknown.append(key)
        elif name in found:
            raise ImportRefused(f"Two tensors of the file would both become {name}; the second is {key}.")
        else:
            found[name] = value
    if unknown:
        raise ImportRefused(
            f"{len(unknown)} tensors have no place in {architecture}: {', '.join(unknown[:3])}. "
            "Name the right architecture with --arch, or leave them out knowingly with --drop PREFIX."
        )
    return found


def _fold_stem(found: dict[str, NDArray[Any]], wanted: Mapping[str, tuple[int, ...]]) -> bool:
    stem = next(key for key, shape in wanted.items() if len(shape) == 4)
    weight = found.get(stem)
    if weight is None or weight.ndim != 4 or weight.shape[1] != 1 or wanted[stem][1] != 3:
        return False
    found[stem] = weight * np.asarray(STEM_SHARES, weight.dtype)[None, :, None, None]
    return True


def _check(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, tuple[int, ...]], architecture: str) -> None:
    missing = [key for key in wanted if key not in found and not key.endswith(_COUNTERS)]
    wrong = [key for key, value in found.items() if value.shape != wanted[key]]
    if missing or wrong:
        detail = [f"{len(missing)} of {len(wanted)} tensors are missing ({', '.join(missing[:3])})"] if missing else []
        detail += [f"{key} has shape {found[key].shape} instead of {wanted[key]}" for key in wrong[:3]]
        raise ImportRefused(
            f"The file does not fit {architecture}: {'; '.join(detail)}. Name the right one with --arch."
        )
