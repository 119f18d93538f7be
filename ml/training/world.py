"""The ranks of a training as one of them sees them: their number, and the collectives between them."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

# torch renames the parameter; the old name warns, and before 2.14 there is no new one.
_NAMES = inspect.signature(DistributedDataParallel).parameters
_SYNC = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"

BUCKET_MB = 8
"""The default of 25 MB makes two buckets of a DenseNet121, and next to nothing overlaps."""


class World:
    """One process of `size`. This class is the world of a single process; `Group` is that of several."""

    rank = 0
    size = 1
    nodes = 1
    backend = "single"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def chief(self) -> bool:
        """Whether this rank writes logs, checkpoints and the artifact."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, static: bool, compress: bool) -> nn.Module:
        """The network whose backward leaves the mean gradient of all ranks."""
        return network

    def no_sync(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Within it, a backward adds gradients on this rank only."""
        return nullcontext()

    def add(self, value: Tensor) -> Tensor:
        """The sum over ranks, in place."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """What each rank gave, in the order of the ranks."""
        return [value]

    def from_rank(self, value: Any, rank: int) -> Any:
        """What that rank gave; others pass None."""
        return value

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating tensors by their mean over ranks."""

    def leave(self) -> None:
        """End communication."""


class Group(World):
    """Ranks joined by a process group: gloo between CPUs, NCCL between GPUs that are distinct."""

    def __init__(self, device: torch.device, store: Any, rank: int, size: int, *, backend: str, timeout: float) -> None:
        super().__init__(device)
        self.rank, self.size, self.backend = rank, size, backend
        dist.init_process_group(
            # Objects travel between CPUs in any case, so that only gradients use NCCL.
            backend="cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=timeout),
        )

    def wrap(self, network: nn.Module, *, static: bool, compress: bool) -> nn.Module:
        """DDP; with `compress`, gradients travel as bfloat16. `static` promises one backward for each step."""
        silent: dict[str, Any] = {_SYNC: False}
        wrapped = DistributedDataParallel(
            network,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            static_graph=static,
            gradient_as_bucket_view=True,
            **silent,
            bucket_cap_mb=BUCKET_MB,
        )
        if compress:
            wrapped.register_comm_hook(None, bf16_compress_hook)
        return wrapped

    def no_sync(self, network: nn.Module) -> AbstractContextManager[Any]:
        """DDP's `no_sync`."""
        context: AbstractContextManager[Any] = network.no_sync()  # type: ignore[operator]
        return context

    def add(self, value: Tensor) -> Tensor:
        """All-reduce."""
        dist.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """All-gather of objects."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_rank(self, value: Any, rank: int) -> Any:
        """Broadcast of an object."""
        box = [value]
        dist.broadcast_object_list(box, src=rank, device=torch.device("cpu"))
        return box[0]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """One all-reduce of all of them together."""
        if not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def leave(self) -> None:
        """Close the connections; peers that still wait for this rank notice."""
        if dist.is_initialized():
            dist.destroy_process_group()
