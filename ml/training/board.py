"""TensorBoard files beside the progress, where the tensorboard package is installed."""

import logging
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

_SHOWN = ("loss", "validation_auroc", "lr", "images_per_s", "data_wait", "seconds")


class Board:
    """Scalars of steps and epochs; does nothing without the package, and logs that once."""

    def __init__(self, folder: Path) -> None:
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            LOG.info("No TensorBoard files: the tensorboard package is not installed.")
            return
        self._writer = SummaryWriter(str(folder))

    def show(self, line: dict[str, Any]) -> None:
        """Write one event of the progress."""
        if self._writer is None or line["event"] not in ("step", "epoch"):
            return
        at = line["epoch"] if line["event"] == "epoch" else (line["epoch"] - 1) * line["steps"] + line["step"]
        for name in _SHOWN:
            if line.get(name) is not None:
                self._writer.add_scalar(f"{line['event']}/{name}", line[name], at)
        for rank in line.get("ranks", ()):
            if rank["p50"] is not None:
                self._writer.add_scalar(f"step_seconds/rank{rank['rank']}", rank["p50"], at)
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
