"""A process that the launcher starts, and the failure of a training. Imports no torch."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
_STOP_SECONDS = 40.0
"""torch's agent gives its ranks 30 seconds to write a checkpoint."""
_POLL_SECONDS = 0.1


class TrainingFailed(Exception):
    """A training that ended without an artifact; the message says why, and what to do."""


def wait(process: "subprocess.Popen[bytes]", stop: threading.Event, ask: Callable[[], None]) -> int:
    """Wait for a process that leads a session of its own; its status.

    After `stop` it is asked to end by `ask`, and killed together with its children when it does not.
    """
    while process.poll() is None and not stop.wait(_POLL_SECONDS):
        pass
    if process.poll() is None:
        ask()
    try:
        return process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
