"""A forecast of the speed that the network between the ranks allows, measured before the first epoch."""

import copy
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ml.training.world import World

OVERLAP = 2 / 3
"""Share of the computation that communication may hide behind: the backward."""

_PROBE_BYTES = 4 << 20
_SECONDS = {"cpu": 0.4, "cuda": 2.0}
_IMAGES = {"cpu": 2, "cuda": 32}


@dataclass(frozen=True)
class Forecast:
    """Seconds and bytes of one step on each rank; `efficiency` is the share of the computing rate that is left."""

    bytes_per_second: float
    gradient_bytes: int
    wire_bytes: float
    communication: float
    computation: float
    efficiency: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"Each step moves {self.wire_bytes / 1e6:.1f} MB per rank at {self.bytes_per_second / 1e6:.0f} MB/s: "
            f"{1e3 * self.communication:.0f} ms beside {1e3 * self.computation:.0f} ms of computing. "
            f"Your network will cap you at {100 * self.efficiency:.0f} %."
        )


def ring_bytes(size: int, gradient_bytes: int) -> float:
    """Bytes that each of `size` ranks sends in a ring all-reduce: 2 (n - 1) / n of the gradients."""
    return 2 * (size - 1) / size * gradient_bytes


def expected(size: int, gradient_bytes: int, bytes_per_second: float, computation: float) -> Forecast:
    """The forecast from a measured rate and a measured step."""
    wire = ring_bytes(size, gradient_bytes)
    communication = wire / bytes_per_second
    step = computation + max(0.0, communication - OVERLAP * computation)
    return Forecast(bytes_per_second, gradient_bytes, wire, communication, computation, computation / step)


def forecast(world: World, network: nn.Module, size: int, images: int) -> Forecast | None:
    """Probe the group and time a step of `images` images of `size` pixels; None for a single process.

    Every rank returns the same figures: the slowest computation, the common rate.
    """
    if world.size == 1:
        return None
    rate = _probe(world)
    seconds = max(world.gather(_step(network, size, images)))
    trained = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    return expected(world.size, trained, rate, seconds)


def _probe(world: World) -> float:
    data = torch.zeros(_PROBE_BYTES // 4, device=world.device)
    world.add(data)
    _ready(world.device)
    rounds, start = 0, time.perf_counter()
    limit = _SECONDS[world.device.type]
    while True:
        world.add(data)
        _ready(world.device)
        rounds += 1
        # The clock of one rank decides for all, or they would not stop after the same round.
        if world.from_rank(time.perf_counter() - start > limit if world.chief else None, 0):
            break
    own = ring_bytes(world.size, rounds * _PROBE_BYTES) / (time.perf_counter() - start)
    return float(min(world.gather(own)))


def _step(network: nn.Module, size: int, batch: int) -> float:
    device = next(network.parameters()).device
    count = max(2, min(batch, _IMAGES[device.type]))
    # A copy: batch-norm statistics and gradients of the network itself stay untouched.
    scratch = copy.deepcopy(network).train()
    images = torch.rand(count, 3, size, size, device=device)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = scratch(images)[0]
        loss = functional.binary_cross_entropy_with_logits(logits.float(), torch.zeros_like(logits).float())
        loss.backward()  # type: ignore[no-untyped-call]
        _ready(device)
        seconds = time.perf_counter() - start
    return seconds * batch / count


def _ready(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
