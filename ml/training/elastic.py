"""One node: torch's elastic agent as a process, started again when the agent itself is lost. Imports no torch.

The agent supervises the ranks: rendezvous, restarts, changes of membership, error files. It can't survive its own
death or that of the agent that hosts the store; a launcher on each node therefore runs it again.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ml.training.addresses import core_count, interfaces, is_free
from ml.training.config import TrainingConfig
from ml.training.nodes import Nodes
from ml.training.processes import Outcome, TrainingFailed, clear_outcomes, read_outcomes
from ml.training.rendezvous import Endpoint, not_met, reach

PROJECT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 40.0
_POLL_SECONDS = 0.1
_PROBE = """
import signal, sys
from torch.distributed import TCPStore
signal.alarm(5)
TCPStore(sys.argv[1], int(sys.argv[2]), is_master=False, wait_for_workers=False).check(["x"])
"""
_AGAIN_SECONDS = 1.0


@dataclass
class Node:
    """The node that this machine contributes, or one of several on this machine.

    Attributes:
        endpoint: HOST:PORT of the rendezvous.
        logs: folder of this node's output and outcomes.
        is_chief_node: whether its first rank shall be rank 0 of all.
        ranks_here: ranks on this machine, which share its cores.
        gpus: the GPUs that it may use; empty: all.
    """

    config: TrainingConfig
    nodes: Nodes
    endpoint: str
    logs: Path
    is_chief_node: bool
    ranks_here: int
    gpus: tuple[str, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Run the agent until its ranks are done, or until `stop`, which makes them write a checkpoint first.

        Raises:
            TrainingFailed: the ranks failed, the nodes did not meet, or restarts are used up.
            ValueError: no address can be announced.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        launched, restarts = time.time(), 0
        while not stop.is_set():
            endpoint = reach(self.endpoint, self.nodes.join_timeout, stop)
            command = self._command(endpoint, launched)
            status = self._run_agent(command, self._environment(endpoint), stop)
            if stop.is_set():
                return
            if status == 0:
                self._raise_failure()
                return
            reason = self._reason()
            if reason.startswith("RendezvousTimeoutError"):
                raise TrainingFailed(not_met(endpoint, self.nodes.minimum, self.nodes.join_timeout))
            agent_lost = status < 0 or reason.startswith("Rendezvous")
            if not agent_lost or restarts == self.nodes.max_restarts:
                raise TrainingFailed(
                    f"The training broke off and was restarted {self.nodes.max_restarts} times: {reason}. See "
                    f"{self.logs / 'agent.log'}; the same command resumes it."
                )
            restarts += 1
            stop.wait(_AGAIN_SECONDS)

    def outcomes(self) -> list[Outcome]:
        """How the ranks of this node ended."""
        return read_outcomes(self.logs)

    def _raise_failure(self) -> None:
        for outcome in self.outcomes():
            if outcome.state == "failed":
                raise TrainingFailed(outcome.reason)

    def _run_agent(self, command: list[str], environment: dict[str, str], stop: threading.Event) -> int:
        clear_outcomes(self.logs)
        (self.logs / "error.json").unlink(missing_ok=True)
        with (self.logs / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the launcher, which passes it on.
                start_new_session=True,
            )
        while process.poll() is None and not stop.wait(_POLL_SECONDS):
            pass
        if process.poll() is None:
            # The agent passes it on to its ranks, which write a checkpoint.
            process.terminate()
        return end(process)

    def _reason(self) -> str:
        """The message in the agent's error file, which is that of the rank that failed first."""
        try:
            message = json.loads((self.logs / "error.json").read_bytes())["message"]
        except (OSError, ValueError, KeyError):
            return "a process was killed"
        text = str(message["message"] if isinstance(message, dict) else message)
        return text.strip().splitlines()[0].rstrip(".") if text.strip() else "no reason is known"

    def _command(self, endpoint: Endpoint, launched: float) -> list[str]:
        settings = {
            "join_timeout": round(self.nodes.join_timeout),
            "last_call_timeout": 5,
            "read_timeout": round(self.nodes.silence_timeout),
            "keep_alive_interval": max(1, round(self.nodes.silence_timeout / 3)),
            "keep_alive_max_attempt": 3,
        }
        if self.nodes.rdzv_endpoint:
            # Otherwise all nodes are here: torch tries to host the store in each, and the first one succeeds.
            settings["is_host"] = int(endpoint.is_here and not has_store(endpoint))
        return [
            *(sys.executable, "-m", "ml.training.agent", str(os.getpid())),
            *("--nnodes", f"{self.nodes.minimum}:{self.nodes.maximum}"),
            *("--nproc-per-node", str(self.nodes.nproc_per_node)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{endpoint.address}:{endpoint.port}"),
            *("--rdzv-id", self.nodes.rdzv_id, "--max-restarts", str(self.nodes.max_restarts)),
            *("--rdzv-conf", ",".join(f"{key}={value}" for key, value in settings.items())),
            *("--local-addr", endpoint.announced, "--monitor-interval", "0.3"),
            *("--log-dir", str(self.logs / "elastic")),
            *("-m", "ml.training.rank", str(self.config.out / "run.json"), str(self.logs)),
            *("--join-timeout", str(self.nodes.join_timeout), "--launched", repr(launched)),
            *(["--chief-node"] if self.is_chief_node else []),
        ]

    def _environment(self, endpoint: Endpoint) -> dict[str, str]:
        environment = {
            **os.environ,
            "TORCHELASTIC_ERROR_FILE": str(self.logs / "error.json"),
            # A store for each generation of ranks: keys of the former one would be taken for answers.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, core_count() // self.ranks_here)),
            "PYTHONUNBUFFERED": "1",
        }
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        known = {address: name for name, address in interfaces().items()}
        interface = "lo" if endpoint.announced.startswith("127.") else known.get(endpoint.announced)
        if interface and sys.platform.startswith("linux"):
            environment.setdefault("GLOO_SOCKET_IFNAME", interface)
            environment.setdefault("NCCL_SOCKET_IFNAME", interface)
        return environment


def has_store(endpoint: Endpoint) -> bool:
    """Whether the agent of another node of this machine hosts the store of the rendezvous.

    A store answers at once; torch waits for ever for another program that has the port. Raises TrainingFailed for one.
    """
    if is_free(endpoint.address, endpoint.port):
        return False
    probe = [sys.executable, "-c", _PROBE, endpoint.address, str(endpoint.port)]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return True
    if is_free(endpoint.address, endpoint.port):
        return False
    raise TrainingFailed(
        f"Port {endpoint.port} of {endpoint.host} is taken by another program. Choose another one in --rdzv-endpoint, "
        "on all nodes."
    )


def end(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process that was asked to end, and kill its whole session when it does not; its status."""
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
