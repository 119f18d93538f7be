"""Starts torch's elastic agent for one training node in a child process, and restarts it if the agent is lost.

The agent supervises the ranks: rendezvous, restarts, changes of membership, error files. It cannot restart itself, and
it ends when the agent that hosts the store ends. So a launcher on each node restarts it. This module does not import
torch.
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

_RESTART_PAUSE_SECONDS = 1.0


@dataclass
class Node:
    """The node that this machine adds to `nodes.rdzv_endpoint`, or one of the nodes of a run on this machine alone.

    Attributes:
        logs: folder of this node's output.
        local_index: of this node among the `local_nodes` of this machine, which share its cores and GPUs.
        has_chief: whether the chief, which writes progress and the artifact, was one of its ranks.
    """

    config: TrainingConfig
    nodes: Nodes
    logs: Path
    local_index: int = 0
    local_nodes: int = 1
    has_chief: bool = False

    def run(self, stop: threading.Event) -> None:
        """Run the agent until its ranks are done, or until `stop`, which makes them write a checkpoint first.

        Raises TrainingFailed: the ranks failed, the rendezvous failed, or no restarts are left.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        result, log, launched = self.logs / RESULT, self.logs / "agent.log", time.time()
        for _ in range(self.nodes.max_restarts + 1):
            result.unlink(missing_ok=True)
            self._run_agent(log, launched, stop)
            if result.exists():
                ended = json.loads(result.read_bytes())
                self.has_chief = ended["is_chief"]
                if ended["reason"] and not stop.is_set():
                    raise TrainingFailed(ended["reason"])
                return
            if stop.wait(_RESTART_PAUSE_SECONDS):
                return
        raise TrainingFailed(self.nodes.no_restarts_left("the elastic agent stopped without a result", self.logs))

    def _run_agent(self, log: Path, launched: float, stop: threading.Event) -> None:
        settings = {
            "launcher": os.getpid(),
            "launched": launched,
            "nodes": asdict(self.nodes),
            "logs": str(self.logs),
            "local_index": self.local_index,
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
