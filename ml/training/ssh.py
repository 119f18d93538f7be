"""A node on another machine, started over ssh: both ends of the connection. Imports no torch.

The other end is `python -m ml.training.ssh SETTINGS` (JSON). The end of its input, which the end of the connection
brings too, stops it like SIGTERM.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.training.config import TrainingConfig
from ml.training.nodes import Nodes
from ml.training.processes import PROJECT, TrainingFailed, wait


@dataclass
class RemoteNode:
    """The node of `host`, which has the project in the same folder with the same interpreter."""

    host: str
    config: TrainingConfig
    nodes: Nodes
    logs: Path

    def run(self, stop: threading.Event) -> None:
        """Run it until its ranks are done, or until `stop`. Raises TrainingFailed with what it says."""
        self.logs.mkdir(parents=True, exist_ok=True)
        program = shlex.split(os.environ.get("TRAINING_SSH", "ssh"))
        options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"] if Path(program[0]).name == "ssh" else []
        settings = json.dumps({"config": self.config.to_json(), "nodes": asdict(self.nodes)})
        python = shlex.join([sys.executable, "-m", "ml.training.ssh", settings])
        log = self.logs / "ssh.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*program, *options, self.host, f"cd {shlex.quote(str(PROJECT))} && exec {python}"],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdin is not None
        status = wait(process, stop, process.stdin.close)
        process.stdin.close()
        if not status or stop.is_set():
            return
        last = (log.read_text(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
        if status == 255:
            last = f"can't be reached over ssh: {last} Try: ssh -o BatchMode=yes {self.host}"
            raise TrainingFailed(f"{self.host} {last}")
        raise TrainingFailed(f"{self.host}: {last.removeprefix('Training stopped: ')}")


def _stop_at_end_of_input() -> None:
    # Unbuffered: a buffer's lock would be held by this thread when the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(settings: str) -> int:
    """The other end."""
    from ml.training.launch import launch

    try:
        value = json.loads(settings)
        config, nodes = TrainingConfig.from_json(value["config"]), Nodes(**{**value["nodes"], "hosts": ()})
        threading.Thread(target=_stop_at_end_of_input, daemon=True, name="input").start()
        launch(config, nodes)
    except (TrainingFailed, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"Training stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
