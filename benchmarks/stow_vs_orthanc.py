"""Compare STOW of 1 MB instances over 4 connections: our web server and Orthanc's, in alternating rounds.

    python -m benchmarks.stow_vs_orthanc [--films 200] [--per-turn 50] [--connections 4]

Prints instances/s of both and their ratio, and the CPU-ms of each process per instance. Needs Debian's `orthanc` and
`orthanc-dicomweb`.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.client import store_all
from benchmarks.images import images
from benchmarks.stack import cpu_seconds, free_port, running_stack

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PATH = "/dicom-web/studies"
WARM_UP = 8


@dataclass
class Contender:
    """One of the two servers, with its measurements."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, psutil.Process]
    stored: int = 0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    def take(self, instances: Sequence[bytes], connections: int) -> None:
        before = {name: cpu_seconds(process) for name, process in self.processes.items()}
        started = time.perf_counter()
        store_all(self.url, PATH, instances, self.headers, connections)
        self.seconds += time.perf_counter() - started
        self.stored += len(instances)
        for name, process in self.processes.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + cpu_seconds(process) - before[name]

    @property
    def rate(self) -> float:
        return self.stored / self.seconds

    def show(self) -> None:
        costs = ", ".join(f"{name} {1000 * spent / self.stored:.1f}" for name, spent in self.cpu.items())
        print(f"{self.name:10} {self.rate:7.1f} instances/s    CPU-ms per instance: {costs}")


@contextmanager
def running_orthanc() -> Iterator[Contender]:
    """Debian's Orthanc with its DICOMweb plugin, on a free loopback port and with a temporary storage."""
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.exists():
        raise SystemExit("Orthanc is missing: apt-get install orthanc orthanc-dicomweb")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="orthanc-bench-") as folder:
        configuration = Path(folder) / "orthanc.json"
        configuration.write_text(json.dumps(_configuration(port, folder)))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/system", process)
            peer = psutil.Process(process.pid)
            yield Contender("Orthanc", f"http://127.0.0.1:{port}", {"Accept": "application/dicom+json"},
                            {"orthanc": peer})  # fmt: skip
        finally:
            process.terminate()
            process.wait(30)


def _configuration(port: int, folder: str) -> dict[str, object]:
    return {
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": False,
        "StorageDirectory": f"{folder}/db",
        "IndexDirectory": f"{folder}/db",
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("Orthanc did not start.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--per-turn", type=int, default=50)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    sent = images(options.films + WARM_UP, "stow")
    megabytes = sum(map(len, sent)) / len(sent) / 1e6
    print(f"{options.films} instances of {megabytes:.2f} MB, {options.connections} connections, one per request")
    with running_orthanc() as orthanc, running_stack(parts=("web",)) as stack:
        ours = Contender("Checxray", stack.url, {"Authorization": f"Bearer {stack.api_key}"}, stack.processes)
        for contender in (ours, orthanc):
            store_all(contender.url, PATH, sent[:WARM_UP], contender.headers, options.connections)
        measured = sent[WARM_UP:]
        for start in range(0, len(measured), options.per_turn):
            turn = measured[start : start + options.per_turn]
            for contender in (ours, orthanc) if start % (2 * options.per_turn) == 0 else (orthanc, ours):
                contender.take(turn, options.connections)
        for contender in (ours, orthanc):
            contender.show()
        print(f"ratio      {ours.rate / orthanc.rate:7.2f}")


if __name__ == "__main__":
    main()
