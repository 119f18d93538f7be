"""Compare DICOMweb over 4 connections: our web server and Orthanc's, in alternating turns.

    python -m benchmarks.dicomweb_vs_orthanc [--films 200] [--per-turn 50] [--connections 4]

STOW-RS of 1 MB instances, then QIDO-RS of 50 studies, then WADO-RS of those instances. Prints requests/s of both and
their ratio, and the CPU-ms of each process per request. Needs Debian's `orthanc` and `orthanc-dicomweb`.
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
from typing import cast

import psutil

from benchmarks.client import get_all, store_all
from benchmarks.images import images
from benchmarks.stack import cpu_seconds, free_port, running_stack
from ml.phantom import synthetic_uid

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PATH = "/dicom-web/studies"
RUN = "dicomweb"
WADO = 'multipart/related; type="application/dicom"'
WARM_UP = 8


@dataclass
class Contender:
    """One of the two servers, with the measurements of the task that runs."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, psutil.Process]
    requests: int = 0
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    def take(self, turn: "Turn", connections: int) -> None:
        before = {name: cpu_seconds(process) for name, process in self.processes.items()}
        started = time.perf_counter()
        turn.send(self, connections)
        self.seconds += time.perf_counter() - started
        self.requests += len(turn.items)
        for name, process in self.processes.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + cpu_seconds(process) - before[name]

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def show(self) -> None:
        costs = ", ".join(f"{name} {1000 * spent / self.requests:.1f}" for name, spent in self.cpu.items())
        print(f"  {self.name:10} {self.rate:7.1f} requests/s    CPU-ms per request: {costs}")


@dataclass
class Turn:
    """Requests that each server answers: instances to store, or paths to fetch with an Accept header."""

    items: Sequence[bytes] | Sequence[str]
    accept: str = ""

    def send(self, to: Contender, connections: int) -> None:
        if self.accept:
            get_all(to.url, cast(Sequence[str], self.items), {**to.headers, "Accept": self.accept}, connections)
        else:
            headers = {**to.headers, "Accept": "application/dicom+json"}
            store_all(to.url, PATH, cast(Sequence[bytes], self.items), headers, connections)


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
            yield Contender("Orthanc", f"http://127.0.0.1:{port}", {}, {"orthanc": peer})
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


def instance_path(number: int) -> str:
    study, series, instance = (synthetic_uid("benchmark", level, RUN, number) for level in ("study", "series", "image"))
    return f"{PATH}/{study}/series/{series}/instances/{instance}"


def compare(task: str, turns: Sequence[Turn], contenders: Sequence[Contender], connections: int) -> None:
    """Let the servers take turns, each first in every second one, and print their rates and the ratio."""
    for contender in contenders:
        contender.requests, contender.seconds, contender.cpu = 0, 0.0, {}
    for number, turn in enumerate(turns):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            contender.take(turn, connections)
    print(task)
    for contender in contenders:
        contender.show()
    ours, orthanc = contenders
    print(f"  ratio      {ours.rate / orthanc.rate:7.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--per-turn", type=int, default=50)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    sent = images(options.films + WARM_UP, RUN)
    megabytes = sum(map(len, sent)) / len(sent) / 1e6
    print(f"{options.films} instances of {megabytes:.2f} MB, {options.connections} connections")
    starts = range(0, options.films, options.per_turn)
    with running_orthanc() as orthanc, running_stack(parts=("web",)) as stack:
        ours = Contender("Checxray", stack.url, {"Authorization": f"Bearer {stack.api_key}"}, stack.processes)
        contenders = (ours, orthanc)
        for contender in contenders:
            contender.take(Turn(sent[:WARM_UP]), options.connections)
        stored = [Turn(sent[WARM_UP + start :][: options.per_turn]) for start in starts]
        compare("STOW-RS of an instance", stored, contenders, options.connections)
        searched = Turn([f"{PATH}?limit=50"] * options.per_turn, "application/dicom+json")
        compare("QIDO-RS of 50 studies", [searched] * len(starts), contenders, options.connections)
        paths = [instance_path(number) for number in range(options.films)]
        fetched = [Turn(paths[start:][: options.per_turn], WADO) for start in starts]
        compare("WADO-RS of an instance", fetched, contenders, options.connections)


if __name__ == "__main__":
    main()
