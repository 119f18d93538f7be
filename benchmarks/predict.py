"""Compare POST /predict for preprocessed images with the raw predictor and with the same version in LitServe.

    python -m pip install --target PEER litserve
    python -m benchmarks.predict --peer PEER [--batch 8] [--connections 3] [--rounds 3] [--artifact DIR | --densenet]

All three have the same version and get the same array of N images. Their rounds alternate, so other load on the machine
affects them equally. Our server and LitServe have the same numbers of processes and threads, and the same client.
Prints images/s, CPU time and the ratios.
"""

import argparse
import http.client
import io
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil

from benchmarks.pipeline import densenet
from benchmarks.raw import Rate, raw_predictor, running
from benchmarks.stack import PROJECT_ROOT, cpu_seconds, free_port, running_stack
from ml.model.manifest import read_manifest

STARTER = PROJECT_ROOT / "models" / "starter"
PROCESSES = THREADS = 2
# LitServe as a careful user sets it up: the array as body, the same calibrated result, one request per process.
_PEER = """
import io, sys, numpy as np, litserve
from pathlib import Path
from typing import Annotated
from fastapi import Body
from ml.model.predictor import load_predictor
class Api(litserve.LitAPI):
    def setup(self, device):
        self.predictor = load_predictor(Path(sys.argv[1]), "cpu", Path(sys.argv[2]), int(sys.argv[5]))
    def decode_request(self, request: Annotated[bytes, Body()]):
        return np.load(io.BytesIO(request), allow_pickle=False)
    def predict(self, images):
        prediction = self.predictor.predict_images(images)
        return self.predictor.check_features(prediction), self.predictor.probabilities(prediction)
    def encode_response(self, output):
        labels = self.predictor.manifest.labels
        return [{"accepted": gate.accepted, "findings": dict(zip(labels, map(float, row)))}
                for gate, row in zip(*output)]
if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=int(sys.argv[4]))
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="warning")
"""


def images_of(artifact: Path, count: int) -> np.ndarray:
    space = read_manifest(artifact).input_space
    return np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3, space.size, space.size)).astype(np.float32)


class Poster:
    """Persistent connections that post the same body repeatedly."""

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

    def post_for(self, seconds: float) -> int:
        """Post on all connections for a time; returns the number of answered requests."""
        counts, failures = [0] * self._connections, []

        def send(number: int) -> None:
            connection = self._connect()
            try:
                while time.perf_counter() < end:
                    self._post(connection)
                    counts[number] += 1
            except (OSError, RuntimeError) as error:
                failures.append(error)

        end = time.perf_counter() + seconds
        threads = [threading.Thread(target=send, args=(number,)) for number in range(self._connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise SystemExit(f"{self._path} failed: {failures[0]}")
        return sum(counts)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._parts.hostname or "", self._parts.port, timeout=120)

    def _post(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", self._path, self._body, self._headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {said[:300]!r}")


def served_rate(poster: Poster, batch: int, seconds: float, processes: Sequence[psutil.Process]) -> Rate:
    before = sum(map(cpu_seconds, processes))
    started = time.perf_counter()
    images = batch * poster.post_for(seconds)
    rate = images / (time.perf_counter() - started)
    return Rate(rate, 1000 * (sum(map(cpu_seconds, processes)) - before) / images)


def measure(artifact: Path, options: argparse.Namespace) -> dict[str, list[Rate]]:
    images = images_of(artifact, options.batch)
    saved = io.BytesIO()
    np.save(saved, images)
    body = saved.getvalue()
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        served = None if artifact == STARTER else artifact
        with (
            running_stack(("web",), served, WEB_WORKERS=str(PROCESSES), PREDICT_THREADS=str(THREADS)) as stack,
            raw_predictor(artifact, cache, images) as raw,
        ):
            headers = {"Authorization": f"Bearer {stack.api_key}", "Content-Type": "application/x-npy"}
            ours = Poster(stack.url, "/api/v1/predict", body, headers, options.connections)
            ours.until_it_answers()
            port = free_port()
            peer = Poster(f"http://127.0.0.1:{port}", "/predict", body, {"Content-Type": "application/octet-stream"},
                          options.connections)  # fmt: skip
            arguments = (artifact, cache, port, PROCESSES, THREADS)
            with running(_PEER, *arguments, path=options.peer) if options.peer else nullcontext() as served_by_peer:
                if served_by_peer is not None:
                    peer.until_it_answers()
                web = [stack.processes["web"], stack.processes["postgres"]]
                runs: dict[str, Callable[[float], Rate]] = {
                    "raw": raw,
                    "ours": lambda seconds: served_rate(ours, options.batch, seconds, web),
                }
                if served_by_peer is not None:
                    theirs = [psutil.Process(served_by_peer.pid)]
                    runs["peer"] = lambda seconds: served_rate(peer, options.batch, seconds, theirs)
                for run in runs.values():
                    run(2.0)
                return _in_turns(runs, options.rounds, options.seconds)


def _in_turns(runs: dict[str, Callable[[float], Rate]], rounds: int, seconds: float) -> dict[str, list[Rate]]:
    rates: dict[str, list[Rate]] = {name: [] for name in runs}
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
    print(f"raw predictor   {_median(rates['raw'])}")
    print(f"/predict        {_median(rates['ours'])}: {_share(rates, 'raw'):.2f} of raw (limit 0.85)")
    if "peer" in rates:
        print(f"LitServe        {_median(rates['peer'])}; /predict is {_share(rates, 'peer'):.2f} of it (limit 1.0)")


def _median(rates: list[Rate]) -> str:
    speed = statistics.median(each.images_per_second for each in rates)
    cpu = statistics.median(each.cpu_ms for each in rates)
    return f"{speed:.1f} images/s, {cpu:.1f} CPU-ms an image"


def _share(rates: dict[str, list[Rate]], other: str) -> float:
    """Median ratio of neighbouring rounds, so that temporary load on the machine has less effect."""
    pairs = zip(rates["ours"], rates[other], strict=True)
    return statistics.median(ours.images_per_second / theirs.images_per_second for ours, theirs in pairs)


if __name__ == "__main__":
    main()
