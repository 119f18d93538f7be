"""Measure activation and rollback under load, and the time per image that is added to decoding and forward pass.

    python -m benchmarks.switching [--seconds 120] [--rate 4] [--every 2] [--densenet]

`rate` images arrive per second, first without activations, and then while every `every` seconds one of three other
versions is activated or rolled back. A worker keeps one version beside the active one, so each version is loaded again.
The third one is damaged in the storage and must be refused each time.

Prints failed jobs (limit 0); readings by version; the ratio of both phases for the 95th percentile of the time from
queueing to the end of a job (limit 1.5); and for single images the median time from the STOW response to committed
findings, minus decoding and forward pass in one process (limit 15 ms).
"""

import argparse
import json
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from apps.audit.services import Actor
from benchmarks.client import store_all
from benchmarks.images import image_bytes
from benchmarks.pipeline import OURS, STARTER, densenet, store, wait_for_jobs
from benchmarks.stack import PROJECT_ROOT, Stack, running_stack

_REST_SECONDS = 0.2
_LONGEST_READING_SECONDS = 60
_BARE = """
import sys, time
from pathlib import Path
from ml.model.predictor import load_predictor
from ml.model.serving_input import load_input
predictor = load_predictor(Path(sys.argv[1]), device="cpu", cache_dir=Path(sys.argv[2]))
predictor.warm_up()
space = predictor.manifest.input_space.to_dict()
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    predictor.predict(load_input(sys.argv[3], space).tensor_u8[None])
    print(time.perf_counter() - start, flush=True)
"""


@contextmanager
def bare_reader(artifact: Path, folder: Path) -> Iterator[Callable[[], float]]:
    """A function that reads an image in a separate process and returns the seconds of decoding and forward pass."""
    instance = folder / "film.dcm"
    instance.write_bytes(image_bytes(0, "bare"))
    command = [sys.executable, "-c", _BARE, str(artifact), str(folder / "cache"), str(instance)]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, answers = process.stdin, process.stdout
        answers.readline()

        def read() -> float:
            requests.write("\n")
            requests.flush()
            return float(answers.readline())

        try:
            yield read
        finally:
            process.terminate()


def other_version(artifact: Path, folder: Path) -> Any:
    """Register the same network with another card: another version with the same speed."""
    from apps.registry.services import register

    shutil.copytree(artifact, folder)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "card": f"Benchmark: {folder.name}."}))
    return register(artifact_dir=folder, name=folder.name)


def damaged(version: Any) -> Any:
    """Shorten the stored weights of a version."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    key = f"{version.object_prefix}/model.safetensors"
    with default_storage.open(key) as stored:
        content = stored.read()
    default_storage.delete(key)
    default_storage.save(key, ContentFile(content[:-1000]))
    return version


def jobs() -> Any:
    from apps.inference.models import InferenceJob

    return InferenceJob.objects.using("dispatch")


def under_load(stack: Stack, run: str, seconds: float, rate: float) -> list[Any]:
    """Send images at a constant rate and wait until all are read; returns their jobs."""
    known = set(jobs().values_list("id", flat=True))
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    started, count = time.perf_counter(), int(seconds * rate)
    for number in range(count):
        instance = image_bytes(number, run)
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        store_all(stack.url, "/dicom-web/studies", [instance], headers, connections=1)
    wait_for_jobs(len(known) + count)
    rows = jobs().only("id", "state", "attempts", "created", "finished", "model_version_id")
    return [row for row in rows if row.pk not in known]


def switch(others: list[Any], every: float, stop: threading.Event, switches: list[float]) -> None:
    from django.db import connections

    from apps.deployment.services import activate, roll_back

    try:
        while not stop.wait(every):
            if len(switches) % 2:
                roll_back(by=Actor(name="benchmark"))
            else:
                activate(version=others[len(switches) // 2 % len(others)], by=Actor(name="benchmark"))
            switches.append(time.perf_counter())
    finally:
        connections.close_all()


def p95(rows: list[Any]) -> float:
    return float(np.percentile([(row.finished - row.created).total_seconds() for row in rows], 95))


_NOTIFY = """
create function benchmark_notify() returns trigger language plpgsql as
    $$ begin perform pg_notify('benchmark_complete', ''); return null; end $$;
create trigger benchmark_notify after update of state on inference_inferencejob
    for each row when (new.state = 'complete') execute function benchmark_notify();
listen benchmark_complete
"""


@contextmanager
def completions() -> Iterator[Callable[[], None]]:
    """A function that waits until the findings of one more image are committed.

    The database sends a notification, because polling would use a core during the measurement.
    """
    from django.db import connections

    database = connections["owner"]
    with database.cursor() as cursor:
        cursor.execute(_NOTIFY)
    listening = database.connection

    def wait() -> None:
        deadline = time.monotonic() + _LONGEST_READING_SECONDS
        while not listening.notifies:
            if time.monotonic() > deadline:
                raise SystemExit(f"A film was not read within {_LONGEST_READING_SECONDS} seconds.")
            select.select([listening], [], [], 1)
            listening.poll()
        listening.notifies.clear()

    try:
        yield wait
    finally:
        with database.cursor() as cursor:
            cursor.execute("drop function benchmark_notify cascade")
        database.close()


def one_at_a_time(stack: Stack, bare: Callable[[], float], rounds: int = 40) -> tuple[float, float]:
    """Median seconds from the STOW response to committed findings on an idle system, and of a bare reading.

    They take turns, each after the same rest: right after another film, caches are warm.
    """
    system, alone = [], []
    with completions() as wait:
        for number in range(rounds):
            time.sleep(_REST_SECONDS)
            alone.append(bare())
            time.sleep(_REST_SECONDS)
            store(stack, 1, f"alone{number}")
            acknowledged = time.perf_counter()
            wait()
            system.append(time.perf_counter() - acknowledged)
    return statistics.median(system), statistics.median(alone)


def compile_each(versions: list[Any]) -> None:
    """Activate each version once and roll back, so that its network is compiled before the measurement."""
    from apps.deployment.services import activate, roll_back
    from apps.inference.models import Worker

    for version in versions:
        activate(version=version, by=Actor(name="benchmark"))
        deadline = time.monotonic() + 300
        while not Worker.objects.filter(model_version=version).exists():
            if time.monotonic() > deadline:
                raise SystemExit(f"The worker did not take {version} within five minutes.")
            time.sleep(0.5)
        roll_back(by=Actor(name="benchmark"))


def report(stack: Stack, artifact: Path, folder: Path, options: argparse.Namespace) -> None:
    from apps.deployment.selectors import require_platform_version

    serving, *others = [
        require_platform_version(), *(other_version(artifact, folder / name) for name in ("second", "third"))
    ]  # fmt: skip
    store(stack, 8, "warm")
    wait_for_jobs(8)
    with bare_reader(artifact, folder) as read:
        alone, bare = one_at_a_time(stack, read)
    compile_each(others)
    bad = damaged(other_version(artifact, folder / "damaged"))
    quiet = under_load(stack, "quiet", options.seconds, options.rate)
    stop, switches = threading.Event(), list[float]()
    switching = threading.Thread(target=switch, args=([*others, bad], options.every, stop, switches))
    switching.start()
    under_switching = under_load(stack, "switching", options.seconds, options.rate)
    stop.set()
    switching.join()
    names = {version.pk: f"{version} {version.sha256[:8]}" for version in (serving, *others, bad)}
    by_version = Counter(names.get(row.model_version_id, "another") for row in under_switching)
    failed = sum(row.state != "complete" for row in under_switching)
    again = sum(row.attempts > 1 for row in under_switching)
    print(f"activations and rollbacks {len(switches)}, one every {options.every:g} s for {options.seconds:g} s")
    print(f"jobs failed               {failed} of {len(under_switching)} (limit 0), claimed again {again}")
    print(f"readings by version       {', '.join(f'{name}: {count}' for name, count in sorted(by_version.items()))}")
    print(f"p95, queued to ended      {1000 * p95(under_switching):.0f} ms against {1000 * p95(quiet):.0f} ms without "
          f"= {p95(under_switching) / p95(quiet):.2f} (limit 1.5)")  # fmt: skip
    print(f"one film at a time        {1000 * alone:.0f} ms, decoding and bare forward {1000 * bare:.0f} ms: "
          f"{1000 * (alone - bare):.0f} ms added (limit 15)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rate", type=float, default=4.0, help="films a second")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between an activation and a rollback")
    parser.add_argument("--densenet", action="store_true", help="an untrained DenseNet121 instead of the starter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        artifact = densenet(folder / "densenet121") if options.densenet else STARTER
        with running_stack(OURS, artifact=None if artifact == STARTER else artifact) as stack:
            import django

            django.setup()
            report(stack, artifact, folder, options)


if __name__ == "__main__":
    main()
