"""The program of ``make demo``: start, use, stop, start again with its data, and leave nothing behind."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests import prepared
from tests.conftest import PROJECT_ROOT
from tests.flows.processes import wait_for

EMBEDDED = {"DJANGO_SETTINGS_MODULE": "config.settings.embedded"}
READY = re.compile(r"^Checxray is ready: (http://127\.0\.0\.1:\d+)$", re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Demo:
    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.demo"],
            cwd=PROJECT_ROOT,
            env=os.environ | EMBEDDED | {"CHECXRAY_HOME": str(home)} | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
        self.process.stdout.close()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def url(self) -> str:
        wait_for(lambda: READY.search(self.output) or self.process.poll() is not None, 240, "The ready line")
        found = READY.search(self.output)
        assert found, self.output
        return found.group(1)

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        return code

    def processes_left(self) -> list[str]:
        left = []
        for each in psutil.process_iter():
            try:
                if str(self.home) in " ".join([*each.cmdline(), *each.environ().values()]):
                    left.append(" ".join(each.cmdline()))
            except psutil.Error:
                continue
        return left


@contextmanager
def demo(home: Path, **environment: str) -> Iterator[Demo]:
    started = Demo(home, **environment)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.stop(signal.SIGTERM)


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.status, answer.read()


def test_the_demo_starts_serves_stops_and_starts_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    prepared.take_graphs(home)
    ports = {"PORT": str(free_port()), "DIMSE_PORT": str(free_port()), "DEMO_EMPTY": "1"}
    with demo(home, **ports) as first:
        url = first.url()
        assert url.endswith(ports["PORT"])
        assert b"Not for diagnostic use" in get(f"{url}/sign-in/")[1]
        socket.create_connection(("127.0.0.1", int(ports["DIMSE_PORT"])), 5).close()
        accounts = json.loads((home / "demo.json").read_text())
        assert (home / "demo.json").stat().st_mode & 0o777 == 0o600
        assert accounts["base_url"] == url
        assert [each["slug"] for each in accounts["tenants"]] == ["north", "south"]

        with demo(home, **ports | {"PORT": str(free_port()), "DIMSE_PORT": str(free_port())}) as second:
            assert second.process.wait(60) == 1
        assert "already runs" in second.output
        assert get(f"{url}/healthz")[0] == 200

        assert first.stop(signal.SIGINT) == 0
    assert first.processes_left() == []

    with demo(home, **ports) as again:
        again.url()
        assert json.loads((home / "demo.json").read_text()) == accounts
        assert again.stop(signal.SIGTERM) == 0
    assert again.processes_left() == []


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo(tmp_path / "home", PORT=str(port), DIMSE_PORT=str(free_port())) as refused:
            assert refused.process.wait(60) == 1
    assert f"make demo PORT={port + 1}" in refused.output
