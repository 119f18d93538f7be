"""One node of this machine: torch's elastic agent as a process, started again when the agent itself is lost.

The agent supervises the ranks: rendezvous, restarts, changes of membership, error files. It can't survive its own
death or that of the agent that hosts the store; a launcher on each node therefore runs it again. Imports no torch.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.training.agent import RESULT
from ml.training.config import TrainingConfig
from ml.training.nodes import Nodes
from ml.training.processes import PROJECT, TrainingFailed, wait

_AGAIN_SECONDS = 1.0


@dataclass
class Node:
    """The node that this machine contributes to `nodes.rdzv_endpoint`, or one of several that it runs alone.

    Attributes:
        logs: folder of this node's output.
        number: of this node among the `local_nodes` of this machine, which share its cores and GPUs.
        has_chief: whether the chief, which writes progress and the artifact, was one of its ranks.
    """

    config: TrainingConfig
    nodes: Nodes
    logs: Path
    number: int = 0
    local_nodes: int = 1
    has_chief: bool = False

    def run(self, stop: threading.Event) -> None:
        """Run the agent until its ranks are done, or until `stop`, which makes them write a checkpoint first.

        Raises TrainingFailed: the ranks failed, the nodes did not meet, or restarts are used up.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        result, log, launched = self.logs / RESULT, self.logs / "agent.log", time.time()
        for _ in range(self.nodes.max_restarts + 1):
            result.unlink(missing_ok=True)
            self._run_agent(log, launched, stop)
            if stop.is_set():
                return
            if result.exists():
                ended = json.loads(result.read_bytes())
                self.has_chief = ended["is_chief"]
                if ended["reason"]:
                    raise TrainingFailed(ended["reason"])
                return
            if stop.wait(_AGAIN_SECONDS):
                return
        raise TrainingFailed(self.nodes.broke_off("the elastic agent was lost", self.logs))

    def _run_agent(self, log: Path, launched: float, stop: threading.Event) -> None:
        settings = {
            "launcher": os.getpid(),
            "launched": launched,
            "nodes": asdict(self.nodes),
            "logs": str(self.logs),
            "number": self.number,
            "local_nodes": self.local_nodes,
        }
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "ml.training.agent", str(self.config.out / "run.json"), json.dumps(settings)],
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the launcher, which passes it on.
                start_new_session=True,
            )
        # The agent passes SIGTERM on to its ranks, which write a checkpoint.
        wait(process, stop, process.terminate)
