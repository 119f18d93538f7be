"""Start the product's processes with a temporary home folder, as ``make demo`` and production start them."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from config.processes import ENVIRONMENT, command

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Stack:
    """A running product. ``processes`` has its processes by name, and also ``postgres`` and ``valkey``."""

    home: Path
    url: str
    demo: dict[str, Any]
    processes: dict[str, psutil.Process]

    @property
    def api_key(self) -> str:
        return self.demo["tenants"][0]["api_key"]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds so far by process name, including children."""
        return {name: cpu_seconds(process) for name, process in self.processes.items()}


def cpu_seconds(process: psutil.Process) -> float:
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


def spawn(name: str, log: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            # "worker-2" is another "worker".
            command(name.partition("-")[0]),
            cwd=PROJECT_ROOT,
            env=ENVIRONMENT | environment,
            stdout=output,
            stderr=output,
        )  # fmt: skip


@contextmanager
def running_stack(parts: Sequence[str] = ("web", "worker", "dispatcher"), artifact: Path | None = None,
                  **variables: str) -> Iterator[Stack]:  # fmt: skip
    """Start servers, migrate, seed without images, start the named processes, and remove everything afterwards.

    Args:
        artifact: serve this version instead of the starter.
    """
    home = Path(tempfile.mkdtemp(prefix="chx-bench-"))
    port = free_port()
    os.environ |= {"CHECXRAY_HOME": str(home), "PORT": str(port), "BIND": f"127.0.0.1:{port}", **variables}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
    environment = dict(os.environ)
    started: dict[str, subprocess.Popen[bytes]] = {}
    from config.embedded import postgres, running_services, valkey

    try:
        with running_services():
            for arguments in ("migrate -v0", "collectstatic --no-input -v0", "seed_demo --empty"):
                _manage(arguments, environment)
            if artifact is not None:
                _manage(f"register_model {artifact} --name benchmark", environment)
                _manage("activate_model benchmark:1", environment)
            try:
                for name in parts:
                    started[name] = spawn(name, home / f"{name}.log", environment)
                stack = Stack(
                    home,
                    f"http://127.0.0.1:{port}",
                    json.loads((home / "demo.json").read_text()),
                    {name: psutil.Process(process.pid) for name, process in started.items()},
                )
                server, broker = postgres.postmaster(), valkey.process()
                assert server is not None
                assert broker is not None
                stack.processes |= {"postgres": server, "valkey": broker}
                _wait(stack, parts)
                yield stack
            finally:
                for process in started.values():
                    process.terminate()
                for process in started.values():
                    process.wait(30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _manage(arguments: str, environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments.split()], cwd=PROJECT_ROOT, env=environment, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def _wait(stack: Stack, parts: Sequence[str]) -> None:
    path = "readyz" if {"web", "worker"} <= set(parts) else "healthz"
    if "web" not in parts:
        return
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{stack.url}/{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    logs = "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in sorted(stack.home.glob("*.log")))
    raise SystemExit(f"The stack did not become ready; its logs end with\n{logs}")
