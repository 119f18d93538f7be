"""Run the raw predictor in a separate process, as the reference for other measurements."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.stack import PROJECT_ROOT

_RAW = """
import sys, time, numpy as np
from pathlib import Path
from ml.model.predictor import load_predictor
predictor = load_predictor(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
batch = np.load(sys.argv[4])
predict = predictor.predict if batch.dtype == np.uint8 else predictor.predict_images
predictor.warm_up(); predict(batch)
print(predictor.runs_on, flush=True)
for line in sys.stdin:
    start, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < float(line):
        predict(batch); done += len(batch)
    print(done / (time.perf_counter() - start), 1000 * (time.process_time() - cpu) / done, flush=True)
"""


@dataclass(frozen=True)
class Rate:
    images_per_second: float
    cpu_ms: float
    """CPU milliseconds of the processes per image."""


@contextmanager
def running(code: str, *arguments: object, path: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that can import the project and, with `path`, the packages of another folder."""
    folders = [str(PROJECT_ROOT), *([str(path)] if path else []), os.environ.get("PYTHONPATH", "")]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        process = subprocess.Popen(
            [sys.executable, script.name, *map(str, arguments)],
            cwd=PROJECT_ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            # The children of LitServe outlive it and would use the cores during the next measurement.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


@contextmanager
def raw_predictor(
    artifact: Path, cache: Path, batch: NDArray[np.uint8] | NDArray[np.float32], device: str = "cpu"
) -> Iterator[Callable[[float], Rate]]:
    """A function that runs a loaded version on the same batch for some seconds and returns its rate."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as array:
        np.save(array, batch)
        array.flush()
        with running(_RAW, artifact, device, cache, array.name) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            requests, answers = process.stdin, process.stdout
            if not answers.readline():
                raise SystemExit(f"The raw predictor did not load: python manage.py predict FILE --device {device}")

            def rate(seconds: float) -> Rate:
                requests.write(f"{seconds}\n")
                requests.flush()
                return Rate(*map(float, answers.readline().split()))

            yield rate


def squares(artifact_size: int, count: int) -> NDArray[np.uint8]:
    """Random input images of the network, uint8 (count, S, S)."""
    return np.random.default_rng(0).integers(0, 256, (count, artifact_size, artifact_size), dtype=np.uint8)
