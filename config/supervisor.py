"""Runs the processes of one machine: starts them, restarts those that die, and stops them all."""

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from config.embedded import paths
from config.env import PROJECT_ROOT

_STOP_SECONDS = 25
_STEADY_SECONDS = 20
_MOST_RESTARTS = 4
# After the start, a process that dies repeatedly is started again at this interval, while the others go on.
_PAUSE_SECONDS = 10
_PR_SET_PDEATHSIG = 1


class ProcessKeepsDyingError(Exception):
    """A process died repeatedly; the message names its log file."""


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Service:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    restarts: int = field(default=0)

    def start(self) -> None:
        with paths.log_file(self.name).open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=PROJECT_ROOT,
                env=dict(self.environment),
                # A session of its own: the terminal's Ctrl-C reaches only the supervisor, which stops its processes.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started = time.monotonic()

    def is_dead(self) -> bool:
        return self.process is not None and self.process.poll() is not None


class Supervisor:
    """Keeps services running.

    Args:
        keep_running: called before each check of the services, to restart what they depend on.
    """

    def __init__(self, services: Sequence[Service], keep_running: Callable[[], None] = lambda: None) -> None:
        self.services = list(services)
        self._keep_running = keep_running
        self.stopping = threading.Event()

    def start(self) -> None:
        for service in self.services:
            service.start()

    def check(self, *, give_up: bool = True) -> None:
        """Restart services that died.

        Args:
            give_up: whether to raise for a service that dies repeatedly. Only at the start: later one image may be the
                cause, and the web server must go on.

        Raises:
            ProcessKeepsDyingError: a service died too often.
        """
        self._keep_running()
        for service in self.services:
            if not service.is_dead():
                continue
            if time.monotonic() - service.started > _STEADY_SECONDS:
                service.restarts = 0
            if service.restarts >= _MOST_RESTARTS:
                if give_up:
                    raise ProcessKeepsDyingError(f"{service.name} keeps stopping: see {paths.log_file(service.name)}.")
                if time.monotonic() - service.started < _PAUSE_SECONDS:
                    continue
            service.restarts += 1
            print(f"  {service.name} stopped; starting it again", flush=True)
            service.start()

    def watch(self) -> None:
        """Keep the services running until ``stopping`` is set."""
        while not self.stopping.wait(1.0):
            self.check(give_up=False)

    def stop(self) -> None:
        running = [each.process for each in self.services if each.process is not None and each.process.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
