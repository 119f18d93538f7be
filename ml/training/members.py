"""What a launcher starts: an elastic agent here, or a launcher on another machine. Each is watched and restarted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ml.training.addresses import answers, core_count, interface_of, is_free, is_local, own_address, resolved
from ml.training.config import TrainingConfig
from ml.training.nodes import Nodes
from ml.training.processes import LOGS_VARIABLE, PREFERRED_VARIABLE, SINCE_VARIABLE, Record, clear_records, read_records

PROJECT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 40.0
_AGAIN_SECONDS = 1.0
_TAIL_BYTES = 6000
_PROBE = """
import sys
from torch.distributed import TCPStore
TCPStore(sys.argv[1], int(sys.argv[2]), is_master=False, wait_for_workers=False).check(["x"])
"""
_PROBE_SECONDS = 15.0


class TrainingFailed(Exception):
    """A training that ended without an artifact; the message says why, and what to do."""

    @property
    def reason(self) -> str:
        """The message."""
        return str(self)


class Member(Protocol):
    """Something that the launcher watches."""

    def start(self) -> None:
        """Start it."""

    def over(self) -> bool:
        """Whether it ended as it should. Raises TrainingFailed when it can't go on."""

    def ask_to_stop(self) -> None:
        """Ask it to end; ranks write a checkpoint first."""

    def stop(self, until: float) -> None:
        """Wait for the end until that time (monotonic), then end it by force."""


@dataclass(frozen=True)
class Meeting:
    """Where the agents of a training meet: host and port, and whether the agent here keeps the store."""

    host: str
    port: int
    here: bool


def end(process: "subprocess.Popen[bytes] | None", until: float) -> None:
    """Wait for a process that was asked to end; kill its whole session when it does not."""
    if process is None:
        return
    try:
        process.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass
class Agent:
    """The elastic agent of one node on this machine, or the single process of a training without others."""

    config: TrainingConfig
    nodes: Nodes
    meeting: Meeting
    logs: Path
    preferred: bool
    ranks_here: int
    gpus: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    restarts: int = 0
    _again: float = 0.0
    _met: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.time)

    def start(self) -> None:
        """Start the process; its output goes to agent.log. Raises TrainingFailed when another program has the port."""
        address = resolved(self.meeting.host)
        if address is None:
            # In a cluster that is just starting, names come after machines.
            if time.monotonic() - self._met > self.nodes.join_timeout:
                raise TrainingFailed(self._diagnosis(waiting=True))
            self._again = time.monotonic() + _AGAIN_SECONDS
            return
        if self.meeting.here and not is_free(address, self.meeting.port) and not self._is_store(address):
            raise TrainingFailed(
                f"Port {self.meeting.port} of {self.meeting.host} is taken by another program. Choose another one in "
                "--rdzv-endpoint, on all nodes."
            )
        self.logs.mkdir(parents=True, exist_ok=True)
        clear_records(self.logs)
        with (self.logs / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=PROJECT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the launcher; it passes it on in order.
                start_new_session=True,
            )

    def _is_store(self, address: str) -> bool:
        """Whether a node of this machine has the port: a store answers at once, others never or wrongly."""
        probe = [sys.executable, "-c", _PROBE, address, str(self.meeting.port)]
        try:
            return subprocess.run(probe, capture_output=True, check=False, timeout=_PROBE_SECONDS).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _command(self) -> list[str]:
        rank = ["ml.training.rank", str(self.config.out / "run.json")]
        if self.nodes.alone:
            return [sys.executable, "-m", *rank]
        silence = max(1, round(self.nodes.silence_timeout / 3))
        address = resolved(self.meeting.host) or self.meeting.host
        keeps_store = self.meeting.here and is_free(address, self.meeting.port)
        settings = {
            "is_host": int(keeps_store),
            "join_timeout": round(self.nodes.join_timeout),
            "last_call_timeout": 5,
            "read_timeout": max(5, round(self.nodes.silence_timeout)),
            "keep_alive_interval": silence,
            "keep_alive_max_attempt": 3,
        }
        return [
            *(sys.executable, "-m", "ml.training.agent", str(os.getpid())),
            *("--nnodes", f"{self.nodes.minimum}:{self.nodes.maximum}"),
            *("--nproc-per-node", str(self.nodes.nproc_per_node)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{self.meeting.host}:{self.meeting.port}"),
            *("--rdzv-id", self.nodes.rdzv_id, "--max-restarts", str(self.nodes.max_restarts)),
            *("--rdzv-conf", ",".join(f"{key}={value}" for key, value in settings.items())),
            *("--local-addr", own_address(address) or address, "--monitor-interval", "0.3"),
            *("-m", *rank),
        ]

    def _environment(self) -> dict[str, str]:
        environment = {
            **os.environ,
            LOGS_VARIABLE: str(self.logs.resolve()),
            PREFERRED_VARIABLE: "1" if self.preferred else "",
            SINCE_VARIABLE: repr(self._since),
            # A store for each generation of ranks: keys of the former one would be taken for answers.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, core_count() // self.ranks_here)),
            "PYTHONUNBUFFERED": "1",
        }
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        own = own_address(resolved(self.meeting.host) or self.meeting.host)
        interface = interface_of(own) if own else None
        if interface:
            environment.setdefault("GLOO_SOCKET_IFNAME", interface)
            environment.setdefault("NCCL_SOCKET_IFNAME", interface)
        return environment

    def records(self) -> list[Record]:
        """What the ranks of this node said last."""
        return read_records(self.logs)

    def over(self) -> bool:
        """Restart an agent that died; raise what a rank found to be final."""
        records = self.records()
        for record in records:
            if record.state == "failed" and record.final:
                raise TrainingFailed(record.reason)
        if self.process is None:
            if time.monotonic() >= self._again:
                self.start()
            return False
        if records:
            self._met = time.monotonic()
        code = self.process.poll()
        if code is None:
            return False
        stopped = [record.reason for record in records if record.state == "stopped"]
        if code == 0 and stopped:
            raise TrainingFailed(stopped[0])
        if code == 0:
            return True
        self._count(bool(records), killed=code < 0)
        self.process = None
        self._again = time.monotonic() + _AGAIN_SECONDS
        return False

    def _count(self, met: bool, killed: bool) -> None:
        """Whether to go on after the agent's end. Waiting for the others is no failure until the time is up."""
        waiting = not met and not killed and not self.nodes.alone
        if waiting and time.monotonic() - self._met < self.nodes.join_timeout:
            return
        self.restarts += 1
        if waiting or self.restarts > self.nodes.max_restarts:
            raise TrainingFailed(self._diagnosis(waiting))

    def _diagnosis(self, waiting: bool) -> str:
        where = f"{self.meeting.host}:{self.meeting.port}"
        address = resolved(self.meeting.host)
        if waiting and address is None:
            return f"The host of --rdzv-endpoint {where} is unknown here. Correct the name, or give its address."
        if waiting and address and not self.meeting.here and not answers(address, self.meeting.port):
            return (
                f"{where} can't be reached from here. Start the same command on {self.meeting.host}, and let "
                "firewalls pass between the nodes."
            )
        if waiting:
            return (
                f"The nodes did not meet at {where} within {self.nodes.join_timeout:.0f} s. Start the same command on "
                f"all {self.nodes.minimum} of them, with the same --nnodes."
            )
        reasons = [record.reason for record in self.records() if record.reason]
        last = reasons[0] if reasons else " ".join(self._tail().strip().splitlines()[-1:])
        return (
            f"The training broke off {self.restarts} times and was not restarted again: {last or 'it was killed'}. "
            f"See {self.logs / 'agent.log'}; the same command resumes it."
        )

    def _tail(self) -> str:
        with (self.logs / "agent.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def ask_to_stop(self) -> None:
        """SIGTERM; torchrun passes it on to its ranks."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, until: float) -> None:
        """Wait, then kill."""
        end(self.process, until)


@dataclass
class Remote:
    """A launcher on another machine, over ssh; it ends when the connection does."""

    host: str
    config: TrainingConfig
    nodes: Nodes
    logs: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """The same folder and interpreter there; the settings travel through its standard input, unquoted."""
        self.logs.mkdir(parents=True, exist_ok=True)
        program = shlex.split(os.environ.get("TRAINING_SSH", "ssh"))
        options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15"] if program[-1].endswith("ssh") else []
        command = f"cd {shlex.quote(str(PROJECT))} && exec {shlex.quote(sys.executable)} -m ml.training.node"
        with (self.logs / "ssh.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *options, self.host, command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        line = json.dumps({"config": self.config.to_json(), "nodes": self.nodes.to_json()})
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            # `over` tells why ssh ended.
            return

    def over(self) -> bool:
        """Raise what the other machine says."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            return False
        if code == 0:
            return True
        said = (self.logs / "ssh.log").read_text(errors="replace").strip().splitlines()
        last = said[-1] if said else f"exit status {code}"
        if code == 255:
            raise TrainingFailed(f"{self.host} can't be reached over ssh: {last} Try: ssh -o BatchMode=yes {self.host}")
        raise TrainingFailed(f"{self.host}: {last.removeprefix('Training stopped: ')}")

    def ask_to_stop(self) -> None:
        """Close its input, which is its sign to end."""
        if self.process is not None and self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                return

    def stop(self, until: float) -> None:
        """Wait, then kill the connection."""
        end(self.process, until)


def meeting_at(host: str, port: int) -> Meeting:
    """The meeting as this machine sees it."""
    address = resolved(host)
    return Meeting(host, port, address is not None and is_local(address))
