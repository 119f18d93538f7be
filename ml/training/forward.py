"""Run a network in evaluation mode over images in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ml.data.shards import ImageArray
from ml.model.networks import CamNetwork
from ml.model.transforms import InputSpace
from ml.model.variants import VARIANTS


@dataclass(frozen=True, eq=False)
class Outputs:
    """logits (N, L), cams (N, L, h, w), features (N, C), float32."""

    logits: NDArray[np.float32]
    cams: NDArray[np.float32]
    features: NDArray[np.float32]


def to_tensor(squares: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """uint8 (N, S, S) -> float (N, 1, S, S) in [0, 1] on the device; bytes travel, not floats."""
    return unit(torch.from_numpy(np.array(squares)).to(device))


def unit(squares: torch.Tensor) -> torch.Tensor:
    """uint8 (N, S, S) -> float (N, 1, S, S) in [0, 1]."""
    return squares.unsqueeze(1).float() / 255


def normalised(grey: torch.Tensor, space: InputSpace) -> torch.Tensor:
    """Float (N, 1, S, S) in [0, 1] -> (N, 3, S, S) by the input space's mean and standard deviation."""
    mean = torch.tensor(space.mean, device=grey.device)[:, None, None]
    std = torch.tensor(space.std, device=grey.device)[:, None, None]
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)


def run(
    network: CamNetwork,
    squares: ImageArray,
    space: InputSpace,
    batch_size: int = 32,
    indices: Sequence[int] | NDArray[Any] | None = None,
    progress: str | None = None,
    mixed: bool = False,
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
) -> Outputs:
    """Logits, maps and features of images uint8 (N, S, S), an array or shards, each index once and in order.

    `mixed` computes in bfloat16 on a GPU: enough to rank epochs, not for an artifact's figures. `change` is applied to
    each batch uint8 (N, S, S) first.
    """
    chosen = np.arange(len(squares)) if indices is None else np.asarray(indices)
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    batches: list[tuple[NDArray[np.float32], ...]] = []
    steps = range(0, len(chosen), batch_size)
    half = torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed and device.type == "cuda")
    with torch.inference_mode(), half:
        for start in tqdm(steps, desc=progress, disable=progress is None, unit="batch", leave=False):
            images = np.asarray(squares[chosen[start : start + batch_size]])
            batch = to_tensor(change(images) if change else images, device)
            batches.append(tuple(value.float().cpu().numpy() for value in network(normalised(batch, space))))
    network.train(was_training)
    logits, cams, features = (np.concatenate(part) for part in zip(*batches, strict=True))
    return Outputs(logits, cams, features)


def run_varied(
    network: CamNetwork,
    squares: ImageArray,
    space: InputSpace,
    batch_size: int = 32,
    indices: NDArray[np.intp] | None = None,
) -> list[NDArray[np.float32]]:
    """Logits (N, L) of the images under each of `ml.model.variants.VARIANTS`."""
    return [
        run(network, squares, space, batch_size, indices, progress=f"Films, {name}", change=change).logits
        for name, change in VARIANTS.items()
    ]
