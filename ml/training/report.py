"""The progress of a run, written by the chief: into the progress file, TensorBoard and the log."""

import logging
from typing import Any

from ml.training import progress
from ml.training.board import Board
from ml.training.config import TrainingConfig
from ml.training.forecast import Forecast
from ml.training.pace import stragglers
from ml.training.run import Prepared, execution_of
from ml.training.world import World

LOG = logging.getLogger(__name__)


class ProgressReporter:
    """Receives the events of the loop; only the chief writes them."""

    def __init__(
        self, config: TrainingConfig, prepared: Prepared, world: World, expected: Forecast | None, launched: float
    ) -> None:
        """`launched` is the time of the launch, to count its restarts (seconds since the epoch)."""
        self.config, self.prepared, self.world, self.expected = config, prepared, world, expected
        self._launched = launched
        self._board = Board(config.out / "tensorboard") if world.chief else None

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one event of the loop."""
        if not self.world.chief:
            return
        if event == "ready":
            event, fields = "start", {**self._start(), **fields}
            LOG.info("%s", self.expected or "One process: nothing travels.")
        if event == "epoch":
            LOG.info("epoch %(epoch)d: loss %(loss).4f, validation mean AUROC %(validation_auroc).4f", fields)
            for rank in stragglers(fields["ranks"]):
                LOG.warning("Rank %d is slow: its own work takes 1.5 times the median of all ranks.", rank)
        line = progress.append(self.config.out / progress.FILE, event, **fields)
        if self._board:
            self._board.show(line)

    def close(self) -> None:
        """Finish the TensorBoard files."""
        if self._board:
            self._board.close()

    def _start(self) -> dict[str, Any]:
        execution = execution_of(self.config, self.world, self.expected)
        return {
            "world_size": self.world.size,
            "nodes": self.world.nodes,
            "backend": self.world.backend,
            "device": self.world.device.type,
            "architecture": self.config.architecture,
            "global_batch": self.config.recipe.batch_size,
            "train_films": len(self.prepared.split.train),
            "validation_films": len(self.prepared.split.validation),
            "restart": self._restarts(),
            "forecast": self.expected.to_dict() if self.expected else None,
            "compressed": execution.compress,
        }

    def _restarts(self) -> int:
        """How often this launch has begun before."""
        events = progress.read(self.config.out / progress.FILE)
        return sum(each["event"] == "start" and each["time"] >= self._launched for each in events)
