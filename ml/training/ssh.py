"""A node on another machine: the same launcher there, started over ssh. Imports no torch."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from ml.training.config import TrainingConfig
from ml.training.elastic import PROJECT, end
from ml.training.nodes import Nodes
from ml.training.processes import TrainingFailed

_POLL_SECONDS = 0.2


@dataclass
class RemoteNode:
    """`python -m ml.training.node` on `host`, in the same folder with the same interpreter. It ends with its input."""

    host: str
    config: TrainingConfig
    nodes: Nodes
    logs: Path

    def run(self, stop: threading.Event) -> None:
        """Run it until its ranks are done, or until `stop`. Raises TrainingFailed with what it says."""
        self.logs.mkdir(parents=True, exist_ok=True)
        program = shlex.split(os.environ.get("TRAINING_SSH", "ssh"))
        options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"] if Path(program[0]).name == "ssh" else []
        command = f"cd {shlex.quote(str(PROJECT))} && exec {shlex.quote(sys.executable)} -m ml.training.node"
        log = self.logs / "ssh.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*program, *options, self.host, command],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdin is not None
        line = json.dumps({"config": self.config.to_json(), "nodes": self.nodes.to_json()})
        # ssh that has ended already says why in its log.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
        while process.poll() is None and not stop.wait(_POLL_SECONDS):
            pass
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        status = end(process)
        if status and not stop.is_set():
            raise TrainingFailed(self._reason(status, log.read_text(errors="replace").strip().splitlines()))

    def _reason(self, status: int, lines: list[str]) -> str:
        last = lines[-1] if lines else f"exit status {status}"
        if status == 255:
            return f"{self.host} can't be reached over ssh: {last} Try: ssh -o BatchMode=yes {self.host}"
        return f"{self.host}: {last.removeprefix('Training stopped: ')}"
