"""The product's own processes, started as in production, on the servers of the test."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from config.processes import ENVIRONMENT, command

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
OPTIONS = {"dispatcher": ["--interval", "1"]}


def start(name: str, log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            command(name, *OPTIONS.get(name, [])),
            cwd=PROJECT_ROOT,
            env=ENVIRONMENT | os.environ | environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


@contextmanager
def running(name: str, log: Path, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    process = start(name, log, **environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.1)
