"""Feed a rank's images to its device, one piece of a batch after the other, read while the step before computes."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.data.shards import ImageArray

AHEAD = 2
_SHARE_OF_MEMORY = 0.4


class Resident:
    """All images on the GPU: no copy during a step."""

    def __init__(self, squares: ImageArray, device: torch.device) -> None:
        self._images = torch.empty(tuple(squares.shape), dtype=torch.uint8, device=device)
        for start in range(0, len(squares), 1024):
            rows = torch.from_numpy(np.array(squares[start : start + 1024]))
            self._images[start : start + len(rows)] = rows.to(device)

    @staticmethod
    def fits(squares: ImageArray, device: torch.device) -> bool:
        """Whether the images leave most of the GPU's free memory to the network."""
        if device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(device)
        return int(np.prod(squares.shape)) < _SHARE_OF_MEMORY * free

    def pieces(self, plan: Sequence[NDArray[np.intp]]) -> Iterator[tuple[Tensor, float]]:
        """Images uint8 (n, S, S) of each piece, and the seconds that the loop waited for them."""
        for chosen in plan:
            yield self._images[torch.from_numpy(chosen).to(self._images.device)], 0.0


class Prefetched:
    """Images from memory maps, gathered by a thread two pieces ahead; pinned, and copied during the computation."""

    def __init__(self, squares: ImageArray, device: torch.device) -> None:
        self._squares, self._device = squares, device

    def _read(self, plan: Sequence[NDArray[np.intp]], out: "queue.Queue[Any]", ended: threading.Event) -> None:
        item: Any
        for chosen in plan:
            try:
                rows = torch.from_numpy(np.array(self._squares[chosen]))
                item = rows.pin_memory() if self._device.type == "cuda" else rows
            except Exception as error:
                # It is raised in the training loop, which handles it.
                item = error
            while not ended.is_set():
                try:
                    out.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if ended.is_set():
                return

    def pieces(self, plan: Sequence[NDArray[np.intp]]) -> Iterator[tuple[Tensor, float]]:
        """Images uint8 (n, S, S) of each piece, and the seconds that the loop waited for them."""
        ready: queue.Queue[Any] = queue.Queue(AHEAD)
        ended = threading.Event()
        thread = threading.Thread(target=self._read, args=(plan, ready, ended), daemon=True, name="feed")
        thread.start()
        try:
            for _ in plan:
                start = time.perf_counter()
                item = ready.get()
                if isinstance(item, Exception):
                    raise item
                yield item.to(self._device, non_blocking=True), time.perf_counter() - start
        finally:
            ended.set()
            thread.join()


def feed(squares: ImageArray, device: torch.device) -> Resident | Prefetched:
    """A feed from the device's memory where the images fit, else one that reads ahead."""
    return Resident(squares, device) if Resident.fits(squares, device) else Prefetched(squares, device)
