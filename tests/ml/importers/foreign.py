"""Networks of other libraries with synthetic weights, saved in the formats of their release files."""

import re
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision import models

from ml.labels import LABELS
from tests.synthetic import synthetic_image

with warnings.catch_warnings():
    # Its import switches off all warnings of the process and inserts its own folders into sys.path.
    path = list(sys.path)
    import torchxrayvision as xrv

    sys.path[:] = path

MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


@cache
def chest(rows: int = 512, columns: int = 512, seed: int = 3) -> NDArray[np.uint8]:
    pixels = (synthetic_image(seed, max(rows, columns)).pixels >> 4).astype(np.uint8)
    return np.ascontiguousarray(pixels[:rows, :columns])


@cache
def squares(size: int = 128, count: int = 3) -> NDArray[np.uint8]:
    """Input images of a network: smooth ones and noise."""
    rng = np.random.default_rng(size)
    films = [
        np.asarray(chest(512, 512, seed)[:: 512 // size, :: 512 // size][:size, :size]) for seed in range(count - 1)
    ]
    return np.stack([*films, rng.integers(0, 256, (size, size), dtype=np.uint8)])


def xrv_input(pixels: NDArray[np.uint8]) -> Tensor:
    """TorchXRayVision's normalisation: (N, S, S) -> (N, 1, S, S) in -1024..1024."""
    return torch.from_numpy(np.stack([xrv.datasets.normalize(each, 255)[None] for each in pixels])).float()


def imagenet_input(pixels: NDArray[np.uint8]) -> Tensor:
    grey = torch.from_numpy(np.array(pixels)).float()[:, None] / 255
    return (grey - MEAN) / STD


def alive(network: nn.Module, images: Tensor, head: nn.Linear) -> None:
    """Set statistics that fit the input, random scales, and logits of a few units that differ between images."""
    generator = torch.Generator().manual_seed(0)
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None
            norm.weight.uniform_(0.7, 1.3, generator=generator)
            norm.bias.normal_(0, 0.2, generator=generator)
        # Without dropout, which would change the statistics.
        for norm in norms:
            norm.train()
        network(images)
        for norm in norms:
            norm.running_mean.add_(0.1 * norm.running_var.sqrt() * torch.randn(norm.bias.shape, generator=generator))
            norm.momentum = 0.1
        # Only the input of the head is needed; the head is made later.
        pooled: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
        network.eval()(images)
        hook.remove()
        head.weight.normal_(0, 1, generator=generator)
        logits = pooled[0] @ head.weight.T
        head.weight.div_(2 * logits.std(dim=0).mean())
        head.bias.copy_(-(pooled[0] @ head.weight.T).mean(dim=0)).add_(
            torch.randn(head.bias.shape, generator=generator)
        )


@cache
def xrv_densenet(outputs: int = 18) -> Any:
    torch.manual_seed(0)
    network = xrv.models.DenseNet(num_classes=outputs, in_channels=1)
    alive(network, xrv_input(squares()), network.classifier)
    return network


@cache
def xrv_resnet() -> nn.Module:
    """TorchXRayVision's ResNet: torchvision's with a one-channel stem."""
    torch.manual_seed(1)
    network = models.resnet50(weights=None, num_classes=18)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    alive(network, xrv_input(squares()), network.fc)
    return network


@cache
def chexnet() -> nn.Module:
    """torchvision's DenseNet with the head of the CheXNet reproductions."""
    torch.manual_seed(2)
    network = models.densenet121(weights=None)
    network.classifier = nn.Sequential(nn.Linear(1024, len(LABELS)), nn.Sigmoid())
    alive(network, imagenet_input(squares()), network.classifier[0])
    return network


@cache
def efficientnet() -> nn.Module:
    torch.manual_seed(3)
    network = models.efficientnet_b0(weights=None)
    network.classifier[1] = nn.Linear(1280, len(LABELS))
    alive(network, imagenet_input(squares()), network.classifier[1])
    return network


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensor names as torchvision before 0.3 and a DataParallel around a wrapper wrote them."""
    return {
        "module.densenet121." + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def save(value: Any, path: Path, *, stream: bool = False) -> Path:
    """torch.save in its present format, or in that of torch < 1.6."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, _use_new_zipfile_serialization=not stream)
    return path
