"""Read the weights of a feature extractor from a file, under the names that its authors use."""

import argparse
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml.model.timm_features import TimmFeatures


class WeightsInvalid(ValueError):
    """Initial weights that do not fit the architecture; the message says which keys and what to do."""


def load_feature_weights(features: nn.Module, path: Path) -> None:
    """Load the feature weights of a state-dict file into `features`.

    Raises:
        WeightsInvalid: a key of `features` is missing, or has another shape.
    """
    published = _read_state(path)
    wanted = features.state_dict()
    state = _canonical(published, features)
    missing, wrong = _misfits(state, wanted)
    if (missing or wrong) and isinstance(features, TimmFeatures):
        state = features.converted(_unwrapped(published))
        missing, wrong = _misfits(state, wanted)
    if missing or wrong:
        raise WeightsInvalid(
            f"{path.name} does not fit this architecture: {len(missing)} of {len(wanted)} tensors are missing "
            f"({', '.join(missing[:3])}), {len(wrong)} have another shape ({', '.join(wrong[:3])}). "
            "Give the weights of the same architecture."
        )
    chosen = {key: state[key] for key in wanted if key in state}
    bad = [key for key, value in chosen.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise WeightsInvalid(f"{path.name} has non-finite values in {bad[0]}: the file is damaged.")
    features.load_state_dict(chosen, strict=False)


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Keys that are missing in `state`, and keys whose shape is another one."""
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    return missing, [key for key in wanted if key in state and state[key].shape != wanted[key].shape]


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under their own names, without those of modules that wrap the network."""
    plain = {}
    for key, value in state.items():
        while key.startswith(_WRAPPERS):
            key = key.split(".", 1)[1]
        plain[key] = value
    return plain


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsInvalid(f"No weights file {path.name}: give the path of an existing file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        # Checkpoints of MAE and DINO hold their command's options beside the weights; a namespace runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsInvalid(f"{path.name} is not a plain state dict (pickled objects are refused).") from error
    for key in ("state_dict", "model", "teacher", "model_ema", "module"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping) or not all(isinstance(v, Tensor) for v in value.values()):
        raise WeightsInvalid(f"{path.name} is not a plain state dict of tensors.")
    return dict(value)


_OLD_DENSENET = re.compile(r"(norm|relu|conv)\.([12])\.")
_WRAPPERS = ("module.", "densenet121.", "model.", "backbone.", "features.", "body.")
_LITE_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_LITE_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _canonical(state: dict[str, Tensor], features: nn.Module) -> dict[str, Tensor]:
    if "_conv_stem.weight" in state and isinstance(features, TimmFeatures):
        return _from_lite(state, features.body)
    wanted = features.state_dict()
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = fitting_name(key, wanted)
        if name is not None:
            renamed[name] = value
    return renamed


def fitting_name(key: str, wanted: Container[str]) -> str | None:
    """Find the network's name for a key of a weights file.

    Some files wrap the network in other modules, or use the names of torchvision before 0.3 (`norm.1` for `norm1`).

    Returns:
        A name in `wanted`, or None.
    """
    key = _OLD_DENSENET.sub(r"\1\2.", key)
    while True:
        for name in (key, f"body.{key}"):
            if name in wanted:
                return name
        if not key.startswith(_WRAPPERS):
            return None
        key = key.split(".", 1)[1]


def _from_lite(state: dict[str, Tensor], body: Any) -> dict[str, Tensor]:
    """Rename the keys of the efficientnet-lite-pytorch port to timm's: a flat block index becomes stage.block."""
    stages = [(s, b) for s, stage in enumerate(body.blocks) for b in range(len(stage))]
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = stages[int(parts[1])]
            inner = _LITE_INNER if f"_blocks.{parts[1]}._expand_conv.weight" in state else _LITE_FIRST
            name = f"blocks.{stage}.{block}.{inner[parts[2]]}"
        elif parts[0] in _LITE_OUTER:
            name = _LITE_OUTER[parts[0]]
        else:
            continue
        renamed[f"body.{name}.{parts[-1]}"] = value
    return renamed
