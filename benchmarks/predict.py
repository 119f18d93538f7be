"""POST /predict with preprocessed images, against the raw predictor and against the same version behind LitServe.

    python -m pip install --target PEER litserve
    python -m benchmarks.predict --peer PEER [--batch 8] [--connections 3] [--rounds 3] [--artifact DIR | --densenet]

All three hold the same version and see the same array of N images; they take turns, so load hits them alike. The server
and the peer get the same number of processes and lanes, and the same client. Prints images/s and the ratios.
"""

import argparse
import http.client
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.pipeline import densenet
from benchmarks.stack import PROJECT_ROOT, free_port, running_stack
from ml.artifact import read_manifest

STARTER = PROJECT_ROOT / "models" / "starter"
PROCESSES = LANES = 2
_RAW = """
import io, sys, time, numpy as np
from pathlib import Path
from ml.predictor import load_predictor
predictor = load_predictor(Path(sys.argv[1]), "cpu", Path(sys.argv[2]))
images = np.load(sys.argv[3])
predictor.predict_images(images)
print("ready", flush=True)
for line in sys.stdin:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < float(line):
        predictor.predict_images(images); done += len(images)
    print(done / (time.perf_counter() - start), flush=True)
"""
# A careful user's LitServe: the array as the body, the same calibrated answer, one request at a time in each process.
_PEER = """
import io, sys, numpy as np, litserve
from pathlib import Path
from fastapi import Request
from ml.predictor import load_predictor
class Api(litserve.LitAPI):
    def setup(self, device):
        self.predictor = load_predictor(Path(sys.argv[1]), "cpu", Path(sys.argv[2]), int(sys.argv[5]))
    async def decode_request(self, request: Request):
        return np.load(io.BytesIO(await request.body()), allow_pickle=False)
    def predict(self, images):
        prediction = self.predictor.predict_images(images)
        return self.predictor.gate(prediction), self.predictor.probabilities(prediction)
    def encode_response(self, output):
        labels = self.predictor.manifest.labels
        return [{"accepted": gate.accepted, "findings": dict(zip(labels, map(float, row)))}
                for gate, row in zip(*output)]
if __name__ == "__main__":
    server = litserve.LitServer(Api(enable_async=False), accelerator="cpu", workers_per_device=int(sys.argv[4]))
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="warning")
"""


def images_of(artifact: Path, count: int) -> np.ndarray:
    space = read_manifest(artifact).input_space
    return np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3, space.size, space.size)).astype(np.float32)


class Poster:
    """Kept connections that post one body over and over."""

    def __init__(self, url: str, path: str, body: bytes, headers: dict[str, str], connections: int) -> None:
        self._parts, self._path, self._body, self._headers = urlsplit(url), path, body, headers
        self._connections = connections

    def until_it_answers(self) -> None:
        deadline = time.monotonic() + 300
        while True:
            try:
                return self._post(self._connect())
            except (OSError, RuntimeError) as error:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{self._path} does not answer: {error}") from error
                time.sleep(0.5)

    def rate(self, seconds: float) -> float:
        """Requests/s over all connections."""
        counts, failures = [0] * self._connections, []

        def send(number: int) -> None:
            connection = self._connect()
            try:
                while time.perf_counter() < end:
                    self._post(connection)
                    counts[number] += 1
            except (OSError, RuntimeError) as error:
                failures.append(error)

        start = time.perf_counter()
        end = start + seconds
        threads = [threading.Thread(target=send, args=(number,)) for number in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise SystemExit(f"{self._path} failed: {failures[0]}")
        return sum(counts) / (time.perf_counter() - start)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=120)

    def _post(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", self._path, self._body, self._headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {said[:300]!r}")


@contextmanager
def running(code: str, *arguments: object, path: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that sees the project, and the packages in a folder beside the installed ones."""
    folders = [str(PROJECT_ROOT), *([str(path)] if path else [])]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        process = subprocess.Popen(
            [sys.executable, script.name, *map(str, arguments)],
            cwd=PROJECT_ROOT, env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def raw_rate(process: "subprocess.Popen[str]", seconds: float) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(artifact: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    images = images_of(artifact, options.batch)
    saved = io.BytesIO()
    np.save(saved, images)
    body = saved.getvalue()
    with tempfile.TemporaryDirectory() as temporary:
        cache, array = Path(temporary) / "cache", Path(temporary) / "images.npy"
        array.write_bytes(body)
        served = None if artifact == STARTER else artifact
        with (
            running_stack(("web",), served, WEB_WORKERS=str(PROCESSES), PREDICT_THREADS=str(LANES)) as stack,
            running(_RAW, artifact, cache, array) as raw,
        ):
            assert raw.stdout is not None
            raw.stdout.readline()
            headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/x-npy"}
            ours = Poster(stack.url, "/api/v1/predict", body, headers, options.connections)
            ours.until_it_answers()
            port = free_port()
            peer = Poster(f"http://127.0.0.1:{port}", "/predict", body, {"Content-Type": "application/octet-stream"},
                          options.connections)  # fmt: skip
            arguments = (artifact, cache, port, PROCESSES, LANES)
            with running(_PEER, *arguments, path=options.peer) if options.peer else nullcontext():
                if options.peer:
                    peer.until_it_answers()
                runs: dict[str, Callable[[float], float]] = {
                    "raw": lambda seconds: raw_rate(raw, seconds),
                    "ours": lambda seconds: options.batch * ours.rate(seconds),
                }
                if options.peer:
                    runs["peer"] = lambda seconds: options.batch * peer.rate(seconds)
                for run in runs.values():
                    run(2.0)
                return _in_turns(runs, options.rounds, options.seconds)


def _in_turns(runs: dict[str, Callable[[float], float]], rounds: int, seconds: float) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            rates[name].append(run(seconds))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="the folder that LitServe was installed to; without it no peer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--connections", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--artifact", type=Path, default=STARTER)
    parser.add_argument("--densenet", action="store_true", help="an untrained DenseNet121 instead of the starter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = densenet(Path(folder) / "densenet121") if options.densenet else options.artifact
        rates = measure(artifact, options)
        print(f"version         {artifact.name}, {options.batch} images a request, {options.connections} connections")
    raw = statistics.median(rates["raw"])
    print(f"raw predictor   {raw:.1f} images/s")
    ours = statistics.median(rates["ours"])
    ratios = [one / other for one, other in zip(rates["ours"], rates["raw"], strict=True)]
    print(f"/predict        {ours:.1f} images/s = {statistics.median(ratios):.2f} of raw (limit 0.85)")
    if "peer" in rates:
        against = [one / other for one, other in zip(rates["ours"], rates["peer"], strict=True)]
        print(f"LitServe        {statistics.median(rates['peer']):.1f} images/s; "
              f"/predict is {statistics.median(against):.2f} of it (limit 1.0)")  # fmt: skip
    print(json.dumps({name: [round(value, 1) for value in values] for name, values in rates.items()}))


if __name__ == "__main__":
    main()
