"""Where ranks meet before there is a process group, and hear of each other's failures while there is one.

Everything goes through a key-value store that lives as long as one generation of ranks. Values are JSON, never pickles.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

POLL_SECONDS = 0.3
_FAILURE = "failure"


class Meeting:
    """The ranks of this generation, numbered so that the preferred node's come first.

    The elastic agents number nodes by address; the chief must be on the node that registers the artifact.
    """

    def __init__(self, preferred: bool, timeout: float) -> None:
        env = os.environ
        self.size = int(env["WORLD_SIZE"])
        self._agent_rank = int(env["RANK"])
        self._address = (env["MASTER_ADDR"], int(env["MASTER_PORT"]))
        self._timeout = timedelta(seconds=timeout)
        self._store = self._connect(self._agent_rank == 0)
        self.rank = self._agent_rank
        wishes = self.exchange("preferred", preferred)
        order = sorted(range(self.size), key=lambda rank: (not wishes[rank], rank))
        self.rank = order.index(self._agent_rank)

    def _connect(self, host: bool) -> TCPStore:
        return TCPStore(
            *self._address, self.size, host, timeout=self._timeout, wait_for_workers=False, multi_tenant=True
        )

    @property
    def store(self) -> Store:
        """For a process group."""
        return PrefixStore("group", self._store)

    def exchange(self, name: str, value: Any) -> list[Any]:
        """What each rank gave, in the order of the ranks. Waits as long as the slowest needs: the agents watch."""
        self._store.set(f"{name}/{self.rank}", json.dumps(value))
        found = [json.loads(self._wait(f"{name}/{rank}")) for rank in range(self.size)]
        self._store.set(f"{name}/{self.rank}/read", "1")
        if self._agent_rank == 0:
            # The store may go with this process as soon as it has read.
            for rank in range(self.size):
                self._wait(f"{name}/{rank}/read")
        return found

    def _wait(self, key: str) -> bytes:
        # Polled, so that a signal is heard between two looks.
        while not self._store.check([key]):
            time.sleep(0.05)
        return bytes(self._store.get(key))

    def report(self, failure: dict[str, Any]) -> None:
        """Tell all ranks why this one cannot go on, and leave them the time to hear it: the store may live here."""
        try:
            self._store.set(_FAILURE, json.dumps(failure))
        except RuntimeError:
            return
        time.sleep(4 * POLL_SECONDS)

    def watch(self, heard: Callable[[dict[str, Any]], None]) -> "Watch":
        """Call `heard` from a thread when a rank has reported a failure."""
        return Watch(self._connect(host=False), heard)

    def part(self) -> None:
        """Wait until every rank is done; the store must not go before the last one."""
        self._store.set(f"done/{self.rank}", "1")
        if self._agent_rank == 0:
            for rank in range(self.size):
                self._wait(f"done/{rank}")


class Watch:
    """A thread that looks for failures; the ranks themselves may hang in a collective meanwhile."""

    def __init__(self, store: TCPStore, heard: Callable[[dict[str, Any]], None]) -> None:
        self._store, self._heard = store, heard
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="failures")
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            try:
                if self._store.check([_FAILURE]):
                    self._heard(json.loads(self._store.get(_FAILURE)))
                    return
            except RuntimeError:
                # The store went with its process: the collectives will say the rest.
                return

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(timeout=5)
