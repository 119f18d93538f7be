"""Measure the pipeline from STOW to committed findings, relative to the raw predictor in the same run.

    python -m benchmarks.pipeline [--films 200] [--rounds 3] [--artifact DIR | --densenet]
    python -m benchmarks.pipeline --device cuda [--workers N] [--films 2000] [--densenet [--size 1024]] ...

Prints, for one model version: images/s of the raw predictor; images/s of a full queue (drain) and from STOW to findings
(flow) as shares of it, as medians over rounds; CPU-ms per image outside the forward pass, with those of PostgreSQL; and
the time from the STOW response to visible findings on an idle system. On a GPU, a batch has 64 images, several workers
may share the device, and the output says how many cores would keep it busy.
"""

import argparse
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import store_all
from benchmarks.images import SIDE, images
from benchmarks.raw import Rate, raw_predictor, squares
from benchmarks.stack import PROJECT_ROOT, Stack, running_stack
from ml.model.manifest import read_manifest
from ml.phantom import synthetic_uid

STARTER = PROJECT_ROOT / "models" / "starter"
OURS = ("web", "worker", "dispatcher")


def densenet(folder: Path, size: int = 224) -> Path:
    """A DenseNet121 version with untrained weights, which is as fast as a trained one."""
    from benchmarks.untrained import write_untrained

    return write_untrained("densenet121", folder, size)


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
    """The number of complete jobs. Plain SQL, because this process shares the cores with the measured ones."""
    from django.db import connections

    with connections["dispatch"].cursor() as cursor:
        cursor.execute("select count(*) from inference_inferencejob where state = 'complete'")
        return cursor.fetchone()[0]


def wait_for_jobs(count: int) -> None:
    """Poll for the jobs, more often towards the end."""
    deadline = time.monotonic() + 600
    while (missing := count - complete_jobs()) > 0:
        if time.monotonic() > deadline:
            raise SystemExit("The jobs did not end within ten minutes.")
        time.sleep(0.2 if missing > 32 else 0.01)


def wait_for_workers(count: int) -> None:
    """Wait until all workers serve, because one that compiles shares the cores with the measured ones."""
    from apps.inference.selectors import live_workers

    deadline = time.monotonic() + 300
    while sum(any(held["state"] == "serving" for held in worker.versions) for worker in live_workers()) < count:
        if time.monotonic() > deadline:
            raise SystemExit("The workers did not load the version within five minutes.")
        time.sleep(0.5)


def store(stack: Stack, count: int, run: str) -> float:
    instances = images(count, run)
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    started = time.perf_counter()
    store_all(stack.url, "/dicom-web/studies", instances, headers, connections=max(4, os.cpu_count() or 1))
    return started


def measure_flow(stack: Stack, count: int, run: str) -> tuple[float, dict[str, float]]:
    """Images/s from the first STOW to the last committed finding, and the CPU seconds of each process."""
    before_jobs, before = complete_jobs(), stack.cpu_seconds()
    started = store(stack, count, run)
    wait_for_jobs(before_jobs + count)
    rate = count / (time.perf_counter() - started)
    after = stack.cpu_seconds()
    return rate, {name: after[name] - before[name] for name in after}


def measure_drain(stack: Stack, count: int, run: str) -> float:
    """Images/s of a full queue, from the worker's first claim to the last committed finding."""
    before = complete_jobs()
    workers = [process for name, process in stack.processes.items() if name.startswith("worker")]
    for worker in workers:
        worker.suspend()
    store(stack, count, run)
    started = time.perf_counter()
    for worker in workers:
        worker.resume()
    wait_for_jobs(before + count)
    return count / (time.perf_counter() - started)


def measure_latency(stack: Stack, rounds: int = 10) -> list[float]:
    """Seconds from a STOW response to findings in the API, one image at a time on an idle system."""
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
    """Images/s of flow and drain, and of the raw predictor immediately before and after each."""

    raw: list[Rate]
    flow: float
    drain: float
    cpu: dict[str, float]

    def reference(self, first: int) -> float:
        return (self.raw[first].images_per_second + self.raw[first + 1].images_per_second) / 2


def measure_round(stack: Stack, raw: Callable[[float], Rate], count: int, number: int) -> Round:
    rates = [raw(4.0)]
    flow, cpu = measure_flow(stack, count, f"flow{number}")
    rates.append(raw(4.0))
    drain = measure_drain(stack, count, f"drain{number}")
    rates.append(raw(4.0))
    return Round(rates, flow, drain, cpu)


def report(artifact: Path, options: argparse.Namespace) -> None:
    on_gpu = options.device == "cuda"
    batch = 64 if on_gpu else 8
    parts = ("web", "dispatcher", *(f"worker-{number}" if number else "worker" for number in range(options.workers)))
    variables = {"INFERENCE_DEVICE": options.device}
    if on_gpu:
        cores = os.cpu_count() or 1
        variables |= {
            "INFERENCE_BATCH_SIZE": str(batch),
            "WEB_WORKERS": str(max(2, cores // 2)),
            "DECODER_PROCESSES": str(max(2, cores // options.workers)),
        }
    films_seen = squares(read_manifest(artifact).input_space.size, batch)
    with (
        tempfile.TemporaryDirectory() as cache,
        running_stack(parts, artifact=None if artifact == STARTER else artifact, **variables) as stack,
        raw_predictor(artifact, Path(cache), films_seen, options.device) as raw,
    ):
        import django

        django.setup()
        wait_for_workers(options.workers)
        store(stack, 16 * options.workers, "warm")
        wait_for_jobs(16 * options.workers)
        latency = measure_latency(stack)
        measured = [measure_round(stack, raw, options.films, number) for number in range(options.rounds)]
    show(measured, latency, options.films, options.device)


def show(measured: list[Round], latency: list[float], count: int, device: str) -> None:
    flows = [each.flow / each.reference(0) for each in measured]
    drains = [each.drain / each.reference(1) for each in measured]
    forward = statistics.median(raw.cpu_ms for each in measured for raw in each.raw)
    cost = {name: 1000 * statistics.median(each.cpu[name] for each in measured) / count for name in measured[0].cpu}
    print(f"films                     {count} of {SIDE} x {SIDE} x 12 bit, about 1 MB each; {len(measured)} rounds")
    rate = statistics.median(raw.images_per_second for each in measured for raw in each.raw)
    print(f"raw predictor             {rate:.1f} images/s, {forward:.1f} CPU-ms an image")
    for name, speeds, ratios in (
        ("flow, STOW to findings", [each.flow for each in measured], flows),
        ("drain of a full queue", [each.drain for each in measured], drains),
    ):
        by_rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:<26}{statistics.median(ratios):.2f} of raw (by rounds: {by_rounds}), "
              f"{statistics.median(speeds):.0f} films/s")  # fmt: skip
    ours = {name: each for name, each in cost.items() if name not in ("postgres", "valkey")}
    outside = sum(ours.values()) - forward
    print(f"outside the forward       {outside:.1f} CPU-ms a film (limit 25), PostgreSQL beside it "
          f"{cost['postgres']:.1f}, Valkey {cost['valkey']:.1f}")  # fmt: skip
    for name, each in ours.items():
        print(f"    {name:<21} {each:.1f} CPU-ms a film")
    middle, worst = statistics.median(latency), max(latency)
    print(f"idle, ack to findings     median {middle:.2f} s, worst {worst:.2f} s (limit 1.5)")
    if device == "cuda":
        reading = sum(each for name, each in cost.items() if name.startswith("worker")) + cost["postgres"]
        print(f"cores                     {os.cpu_count()} here; {0.85 * rate * reading / 1000:.0f} to read as fast as "
              f"0.85 of this GPU ({reading:.1f} CPU-ms in workers and PostgreSQL a film)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="each with the raw predictor before, between and after")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--artifact", type=Path, default=STARTER)
    parser.add_argument("--densenet", action="store_true", help="an untrained DenseNet121 instead of the starter")
    parser.add_argument("--size", type=int, default=224, help="of its input; a larger one keeps a GPU busier a film")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = densenet(Path(folder) / "densenet121", options.size) if options.densenet else options.artifact
        print(f"version                   {artifact.name}")
        report(artifact, options)


if __name__ == "__main__":
    main()
