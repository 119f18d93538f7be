"""The key-value store of one generation of ranks, which numbers and compares them before there is a process group.

It lives in the process that the elastic agents call rank 0, and ends with it. Values are JSON, never pickles.
"""

import contextlib
import json
import os
import socket
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ml.training.processes import TrainingFailed

_NO_LIMIT = timedelta(days=365)
_LEAVE_LIMIT = timedelta(seconds=5)
_LOST = (dist.DistNetworkError, dist.DistStoreError)


class RankStore:
    """The ranks of this generation, numbered so that those of the chief's node come first.

    The elastic agents number nodes by address; the chief must be on the node that registers the artifact.
    """

    def __init__(self, is_chief_node: bool, timeout: float) -> None:
        """Join the other ranks. Raises TrainingFailed where they are out of reach for `timeout` seconds."""
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self.size, self.rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
        self._is_server = self.rank == 0
        try:
            self._store = dist.TCPStore(  # type: ignore[attr-defined]
                host, port, self.size, self._is_server, timedelta(seconds=timeout), wait_for_workers=False
            )
            flags = self.exchange("is_chief_node", is_chief_node)
        except _LOST as error:
            if self._is_server and isinstance(error, dist.DistNetworkError):
                # The port that the agent chose was taken meanwhile: a restart chooses another one.
                raise
            raise TrainingFailed(
                f"Not all {self.size} ranks met at {host}:{port}, which the first node announced, within "
                f"{timeout:.0f} s (this is {socket.gethostname()}). Let firewalls pass between the nodes, or give "
                "--rdzv-endpoint an address of the network that joins them."
            ) from error
        self.rank = sorted(range(self.size), key=lambda rank: (not flags[rank], rank)).index(self.rank)
        # From here on the slowest rank decides, which may decode images for hours; its agent watches it.
        self._store.set_timeout(_NO_LIMIT)

    def exchange(self, name: str, value: Any) -> list[Any]:
        """What each rank gave, in the order of the ranks."""
        self._store.set(f"{name}/{self.rank}", json.dumps(value))
        return [json.loads(self._store.get(f"{name}/{rank}")) for rank in range(self.size)]

    def for_group(self, timeout: float) -> Any:
        """The store of a process group, which waits `timeout` seconds for a rank."""
        self._store.set_timeout(timedelta(seconds=timeout))
        return dist.PrefixStore("group", self._store)  # type: ignore[attr-defined]

    def leave(self, *, failed: bool = False) -> None:
        """Mark this rank as done with the store; the process that has it waits for all (seconds only if `failed`)."""
        with contextlib.suppress(*_LOST):
            self._store.set(f"left/{self.rank}", "1")
            if self._is_server:
                self._store.wait([f"left/{rank}" for rank in range(self.size)], _LEAVE_LIMIT if failed else _NO_LIMIT)
