"""The speed of a rank: step times, images per second, and the share of time that it waited for images."""

import time
from typing import Any

import numpy as np

EVENT_SECONDS = 2.0


class Pace:
    """Times of the steps of one epoch on one rank. `batch` is the global batch."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._steps: list[float] = []
        self._own: list[float] = []
        self._waits: list[float] = []
        self._begun = self._opened = time.perf_counter()
        self._noticed = (time.perf_counter(), 0)
        self._wait = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._begun = time.perf_counter()
        self._wait = 0.0

    def waited(self, seconds: float) -> None:
        """The loop waited for images."""
        self._wait += seconds

    def computed(self) -> None:
        """This rank's own forward is done; from here on it depends on the others."""
        self._own.append(time.perf_counter() - self._begun)

    def end(self) -> None:
        """A step ends."""
        self._steps.append(time.perf_counter() - self._begun)
        self._waits.append(self._wait)

    def due(self) -> bool:
        """Whether a line about the last steps is due."""
        return time.perf_counter() - self._noticed[0] >= EVENT_SECONDS

    def lately(self) -> dict[str, float]:
        """Images per second and data wait since the last call."""
        since, first = self._noticed
        self._noticed = (time.perf_counter(), len(self._steps))
        seconds = self._noticed[0] - since
        return {
            "images_per_s": (len(self._steps) - first) * self._batch / seconds,
            "data_wait": sum(self._waits[first:]) / seconds,
        }

    def whole(self) -> dict[str, float]:
        """Images per second, seconds and data wait of the epoch so far."""
        seconds = time.perf_counter() - self._opened
        return {
            "images_per_s": len(self._steps) * self._batch / seconds,
            "seconds": seconds,
            "data_wait": sum(self._waits) / seconds,
        }

    def ranks_line(self, rank: int) -> dict[str, Any]:
        """Median and 95th percentile of this rank's steps, and the median until it waits for other ranks."""
        if not self._steps:
            return {"rank": rank, "p50": None, "p95": None, "own": None}
        p50, p95 = np.percentile(self._steps, [50, 95]).tolist()
        return {"rank": rank, "p50": p50, "p95": p95, "own": float(np.median(self._own))}


SLOW = 1.5
_NOISE_SECONDS = 0.05


def stragglers(ranks: list[dict[str, Any]]) -> list[int]:
    """Ranks whose own work takes clearly more than SLOW times the median of all."""
    own = {line["rank"]: line["own"] for line in ranks if line["own"] is not None}
    if not own:
        return []
    middle = float(np.median(list(own.values())))
    return [rank for rank, seconds in own.items() if seconds > SLOW * middle + _NOISE_SECONDS]
