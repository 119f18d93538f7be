"""From STOW to committed findings, against the raw predictor in the same run.

    python -m benchmarks.pipeline [--films 200] [--rounds 3] [--artifact DIR | --densenet]

Prints, for one model version: the raw predictor's images/s; the drain of a full queue and the flow from STOW to
findings as shares of it, as medians over rounds; the CPU-ms that one film costs outside the forward (PostgreSQL beside
it); and the time from acknowledgement to visible findings on an idle system.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import store_all
from benchmarks.films import SIDE, films
from benchmarks.stack import PROJECT_ROOT, Stack, running_stack
from ml.phantom import synthetic_uid

STARTER = PROJECT_ROOT / "models" / "starter"
OURS = ("web", "worker", "dispatcher")
_RAW = """
import json, sys, time, resource, numpy as np
from pathlib import Path
from ml.predictor import load_predictor
predictor = load_predictor(Path(sys.argv[1]), device="cpu", cache_dir=Path(sys.argv[2]))
size = predictor.manifest.input_space.size
batch = np.random.default_rng(0).integers(0, 256, (8, size, size), dtype=np.uint8)
predictor.warm_up(); predictor.predict(batch)
used = resource.getrusage(resource.RUSAGE_SELF); cpu = used.ru_utime + used.ru_stime
start = time.perf_counter(); done = 0
while time.perf_counter() - start < float(sys.argv[3]):
    predictor.predict(batch); done += len(batch)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"rate": done / wall, "cpu_ms": 1000 * (used.ru_utime + used.ru_stime - cpu) / done}))
"""


def raw_predictor(artifact: Path, cache: Path, seconds: float = 4.0) -> dict[str, float]:
    """Images/s and CPU-ms per image of the predictor alone, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _RAW, str(artifact), str(cache), str(seconds)],
        cwd=PROJECT_ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def densenet(folder: Path) -> Path:
    """A DenseNet121 version with untrained weights: its speed is that of a trained one."""
    from benchmarks.untrained import write_untrained

    return write_untrained("densenet121", folder)


class Api:
    """The REST API as an integrator uses it."""

    def __init__(self, stack: Stack) -> None:
        parts = urlsplit(stack.url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {stack.api_key}"}

    def get(self, path: str) -> dict[str, object]:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        return json.loads(answer.read())


def complete_jobs() -> int:
    """Asked without the ORM: whoever looks shares the cores with what is measured."""
    from django.db import connections

    with connections["dispatch"].cursor() as cursor:
        cursor.execute("select count(*) from inference_inferencejob where state = 'complete'")
        return cursor.fetchone()[0]


def wait_for_jobs(count: int) -> None:
    """Look now and then, and often towards the end."""
    deadline = time.monotonic() + 600
    while (missing := count - complete_jobs()) > 0:
        if time.monotonic() > deadline:
            raise SystemExit("The jobs did not end within ten minutes.")
        time.sleep(0.2 if missing > 32 else 0.01)


def store(stack: Stack, count: int, run: str) -> float:
    instances = films(count, run)
    started = time.perf_counter()
    store_all(stack.url, "/dicom-web/studies", instances, {"Authorization": f"Bearer {stack.api_key}"})
    return started


def measure_flow(stack: Stack, count: int, run: str) -> tuple[float, dict[str, float]]:
    """Images/s from the first STOW to the last committed finding, and the CPU seconds that each part used."""
    before_jobs, before = complete_jobs(), stack.cpu_seconds()
    started = store(stack, count, run)
    wait_for_jobs(before_jobs + count)
    rate = count / (time.perf_counter() - started)
    after = stack.cpu_seconds()
    return rate, {name: after[name] - before[name] for name in after}


def measure_drain(stack: Stack, count: int, run: str) -> float:
    """Images/s of a full queue, from the worker's first look at it to the last committed finding."""
    before = complete_jobs()
    worker = stack.processes["worker"]
    worker.suspend()
    store(stack, count, run)
    started = time.perf_counter()
    worker.resume()
    wait_for_jobs(before + count)
    return count / (time.perf_counter() - started)


def measure_latency(stack: Stack, rounds: int = 10) -> list[float]:
    """Seconds from a STOW's answer to findings in the API, one film at a time on an idle system."""
    api = Api(stack)
    seconds = []
    for number in range(rounds):
        run = f"idle{number}"
        store(stack, 1, run)
        acknowledged = time.perf_counter()
        uid = synthetic_uid("benchmark", "study", run, 0)
        while api.get(f"/api/v1/studies/{uid}/")["status"] != "complete":
            if time.perf_counter() - acknowledged > 30:
                raise SystemExit("An idle system did not read one film within 30 s.")
            time.sleep(0.01)
        seconds.append(time.perf_counter() - acknowledged)
        time.sleep(0.3)
    return seconds


@dataclass
class Round:
    """Images/s of flow and drain, each against the raw predictor right before it and right after."""

    raw: list[dict[str, float]]
    flow: float
    drain: float
    cpu: dict[str, float]

    def reference(self, first: int) -> float:
        return (self.raw[first]["rate"] + self.raw[first + 1]["rate"]) / 2


def measure_round(stack: Stack, artifact: Path, cache: Path, count: int, number: int) -> Round:
    raw = [raw_predictor(artifact, cache)]
    flow, cpu = measure_flow(stack, count, f"flow{number}")
    raw.append(raw_predictor(artifact, cache))
    drain = measure_drain(stack, count, f"drain{number}")
    raw.append(raw_predictor(artifact, cache))
    return Round(raw, flow, drain, cpu)


def report(artifact: Path, count: int, rounds: int) -> None:
    served = None if artifact == STARTER else artifact
    with tempfile.TemporaryDirectory() as cache, running_stack(OURS, artifact=served) as stack:
        import django

        django.setup()
        store(stack, 16, "warm")
        wait_for_jobs(16)
        latency = measure_latency(stack)
        measured = [measure_round(stack, artifact, Path(cache), count, number) for number in range(rounds)]
    show(measured, latency, count)


def show(measured: list[Round], latency: list[float], count: int) -> None:
    flows = [each.flow / each.reference(0) for each in measured]
    drains = [each.drain / each.reference(1) for each in measured]
    forward = statistics.median(raw["cpu_ms"] for each in measured for raw in each.raw)
    cost = {name: 1000 * statistics.median(each.cpu[name] for each in measured) / count for name in measured[0].cpu}
    print(f"films                     {count} of {SIDE} x {SIDE} x 12 bit, about 1 MB each; {len(measured)} rounds")
    rate = statistics.median(raw["rate"] for each in measured for raw in each.raw)
    print(f"raw predictor             {rate:.1f} images/s, {forward:.1f} CPU-ms an image")
    for name, ratios in (("flow, STOW to findings", flows), ("drain of a full queue", drains)):
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:<26}{statistics.median(ratios):.2f} of raw (by rounds: {each})")
    ours = sum(cost[name] for name in OURS)
    print(f"outside the forward       {ours - forward:.1f} CPU-ms a film (limit 25), PostgreSQL beside it "
          f"{cost['postgres']:.1f}, Valkey {cost['valkey']:.1f}")  # fmt: skip
    for name in OURS:
        print(f"    {name:<21} {cost[name]:.1f} CPU-ms a film")
    middle, worst = statistics.median(latency), max(latency)
    print(f"idle, ack to findings     median {middle:.2f} s, worst {worst:.2f} s (limit 1.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="each with the raw predictor before, between and after")
    parser.add_argument("--artifact", type=Path, default=STARTER)
    parser.add_argument("--densenet", action="store_true", help="an untrained DenseNet121 instead of the starter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = densenet(Path(folder) / "densenet121") if options.densenet else options.artifact
        print(f"version                   {artifact.name}")
        report(artifact, options.films, options.rounds)


if __name__ == "__main__":
    main()
