"""Convolutional classifiers whose class activation maps are exact.

Every network is `features -> global average pooling -> one linear layer`, with the features taken after the last
activation. Then logit_c = mean(CAM_c) + b_c exactly, where CAM_c = sum_k w_ck A_k (Zhou et al. 2016), and the maps
cost one 1x1 convolution in the same forward.

The features may be the maps of several stages of one network, or of several networks. Each is pooled, and the head
reads all of them. The map of a label is then the sum of their maps on the finest grid, where each coarse cell is
repeated, or shared by the area that it covers: its mean stays the same, so the identity stays exact.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.model.ensemble import ensemble_features
from ml.model.feature_weights import load_feature_weights
from ml.model.grids import overlap
from ml.model.pooling import AttentionPooling, Mirrored
from ml.model.timm_features import TimmFeatures, timm_features


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
        # They may come in bfloat16; in float32 the mean of a map still gives the logit.
        stages = [each.float() for each in ([maps] if isinstance(maps, Tensor) else maps)]
        pooled = torch.cat([each.mean(dim=(2, 3)) for each in stages], dim=1)
        weights = torch.split(self.classifier.weight[:, :, None, None], list(self.channels), dim=1)
        each_cam = [functional.conv2d(each, weight) for each, weight in zip(stages, weights, strict=True)]
        rows, columns = (max(each.shape[axis] for each in each_cam) for axis in (2, 3))
        cams = _on_grid(each_cam[0], rows, columns)
        for other in each_cam[1:]:
            cams = cams + _on_grid(other, rows, columns)
        return self.classifier(pooled), cams, pooled


def _on_grid(cams: Tensor, rows: int, columns: int) -> Tensor:
    """Maps (N, L, h, w) on a grid of rows x columns, not less than theirs; the mean stays the same."""
    if cams.shape[2:] == (rows, columns):
        return cams
    if rows % cams.shape[2] == 0 and columns % cams.shape[3] == 0:
        return functional.interpolate(cams, size=(rows, columns), mode="nearest")
    down, across = (overlap(each, to, cams) for each, to in ((cams.shape[2], rows), (cams.shape[3], columns)))
    return down @ cams @ across.T


class _StageFeatures(nn.Module):
    """The outputs of some modules of a feature extractor; what comes after the last of them is left out."""

    def __init__(self, features: nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        from timm.models import create_feature_extractor

        body = features.body if isinstance(features, TimmFeatures) else features
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


OPTIONS = ("attention", "own", "flip")
"""What may follow an architecture after a plus sign: attention instead of the mean over cells, the network's own
pooling (no exact map), and the mean over the image and its mirror image."""


def _build_features(
    architecture: str, size: int, init_weights: Path | None = None, drop_path: float = 0.0
) -> tuple[nn.Module, int]:
    name, *options = architecture.split("+")
    if odd := sorted(set(options) - set(OPTIONS)):
        raise ValueError(f"{architecture!r}: after a plus sign stands one of {', '.join(OPTIONS)}, not {odd[0]}.")
    if name in _TORCHVISION:
        if drop_path or "own" in options:
            what = "its own pooling" if "own" in options else "drop-path"
            raise ValueError(f"torchvision's {name} has no option for {what}: leave it out, or give a timm name.")
        features, channels = _TORCHVISION[name](name)
    else:
        features, channels = timm_features(name, size, drop_path, "own" in options)
    if init_weights is not None:
        load_feature_weights(features, init_weights)
    if "attention" in options:
        features = AttentionPooling(features, channels)
    return (Mirrored(features) if "flip" in options else features), channels


def build(
    architecture: str,
    n_labels: int,
    init_weights: Path | None = None,
    stages: Sequence[str] | None = None,
    *,
    size: int = 224,
    drop_path: float = 0.0,
) -> CamNetwork:
    """Build a `CamNetwork`, optionally with the feature weights of a file (.safetensors, or a .pth state dict).

    Args:
        architecture: a name of `ARCHITECTURES` or of timm, with `OPTIONS`; or an ensemble (`ml.model.ensemble`).
        n_labels: outputs of the head.
        init_weights: the file.
        stages: names of the modules whose maps the head reads, from fine to coarse, such as "blocks.4"; None for the
            last maps alone.
        size: side of the input, which the position embeddings of transformers are made for.
        drop_path: share of residual branches that are left out in training.

    Raises:
        ValueError: the architecture is unknown, does not fit size and `drop_path`, or has no such modules.
        WeightsInvalid: the weights do not fit it.
    """
    if "@" in architecture:
        return CamNetwork(*ensemble_features(architecture, _build_features), n_labels)
    features, channels = _build_features(architecture, size, init_weights, drop_path)
    return (
        CamNetwork(features, channels, n_labels) if stages is None else _with_stages(features, stages, n_labels, size)
    )


def with_outputs(network: CamNetwork, columns: Sequence[int]) -> CamNetwork:
    """The same network with these outputs of its head only, in this order."""
    chosen = list(columns)
    if chosen == list(range(network.classifier.out_features)):
        return network
    head = nn.Linear(network.classifier.in_features, len(chosen)).to(network.classifier.weight)
    with torch.no_grad():
        head.weight.copy_(network.classifier.weight[chosen])
        head.bias.copy_(network.classifier.bias[chosen])
    smaller = copy.deepcopy(network)
    smaller.classifier = head
    return smaller


def _with_stages(features: nn.Module, stages: Sequence[str], n_labels: int, size: int) -> CamNetwork:
    try:
        chosen = _StageFeatures(features, stages)
    except ValueError as error:
        raise ValueError(f"The architecture has no stages {', '.join(stages)}: {error}") from error
    with torch.no_grad():
        channels = [maps.shape[1] for maps in chosen.eval()(torch.zeros(1, 3, size, size))]
    return CamNetwork(chosen.train(), channels, n_labels)
