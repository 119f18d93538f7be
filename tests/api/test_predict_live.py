"""/predict in the production server: streamed bodies, limits, memory, and a client generated from the schema."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests.api.predicting import FORM, PATH, SIZE, dicom, form, npy, png
from tests.conftest import PROJECT_ROOT, Hospital
from tests.dicomweb.web import WebServer, running_web_server

ARRAY = npy(np.zeros((2, 3, SIZE, SIZE), np.float32))
GROWTH = 60 * 2**20


@pytest.fixture(scope="module")
def server(servers: None) -> Iterator[WebServer]:
    with running_web_server(threads=8) as running:
        yield running


@pytest.fixture
def live(server: WebServer, north: Hospital, serving: Any) -> WebServer:
    """The server over an empty database, with the version loaded."""
    for _ in range(10):
        if post(server, north, ARRAY, "application/x-npy").status_code == 200:
            return server
    raise AssertionError("The version was not loaded.")


def post(server: WebServer, hospital: Hospital, body: Any, kind: str, query: str = "") -> requests.Response:
    headers = {**hospital.bearer, "Content-Type": kind}
    return requests.post(f"{server.url}{PATH}{query}", data=body, headers=headers, timeout=60)


def in_pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def test_bodies_of_unannounced_length(live: WebServer, north: Hospital) -> None:
    films = form([("a", "a.png", png(1)), ("a", "b.dcm", dicom(2))])
    for body, kind, count in ((ARRAY, "application/x-npy", 2), (films, FORM, 2), (png(1), "image/png", 1)):
        answer = post(live, north, in_pieces(body), kind)
        assert (answer.status_code, len(answer.json())) == (200, count), answer.text


@pytest.mark.parametrize(("body", "kind"), [(ARRAY, "application/x-npy"), (png(1), "image/png"),
                                           (form([("a", "a.png", png(1))]), FORM)])  # fmt: skip
def test_a_body_that_ends_before_its_end(live: WebServer, north: Hospital, body: bytes, kind: str) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {north.api_key}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:-5000])
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece

    assert b" 400 " in answer.splitlines()[0]
    assert b"upload-cut-off" in answer


def test_more_than_one_may_ask_is_refused_and_passes(live: WebServer, north: Hospital) -> None:
    films = form([("a", f"{seed}.dcm", dicom(1, 1024)) for seed in range(12)])
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(live, north, films, FORM), range(8)))

    statuses = {answer.status_code for answer in answers}
    assert {200, 429} <= statuses <= {200, 429, 503}, [answer.text[:200] for answer in answers]
    for answer in answers:
        if answer.status_code != 200:
            assert int(answer.headers["Retry-After"]) > 0
    assert post(live, north, ARRAY, "application/x-npy").status_code == 200


def test_memory_is_bounded_and_torch_stays_out(live: WebServer, north: Hospital) -> None:
    full = npy(np.zeros((32, 3, SIZE, SIZE), np.float32))
    # As many as it has threads: each of them keeps what it once needed.
    for _ in range(8):
        assert post(live, north, full, "application/x-npy").status_code == 200
    before = live.resident_bytes()
    for _ in range(6):
        assert post(live, north, full, "application/x-npy").status_code == 200
        assert post(live, north, png(1), "image/png").status_code == 200

    assert live.resident_bytes() - before < GROWTH
    (worker,) = live.workers()
    loaded = {Path(each.path).name for each in psutil.Process(worker.pid).memory_maps()}
    assert not [name for name in loaded if "torch" in name]
    assert [name for name in loaded if "onnxruntime" in name], "the check sees libraries at all"


def test_the_generated_client_runs_its_example(live: WebServer, north: Hospital, tmp_path: Path) -> None:
    schema = requests.get(f"{live.url}/api/v1/schema/", timeout=30)
    (tmp_path / "schema.yaml").write_bytes(schema.content)
    generator = Path(sys.executable).parent / "openapi-python-client"
    made = subprocess.run(
        [generator, "generate", "--path", "schema.yaml", "--config", PROJECT_ROOT / "docs" / "client.yaml",
         "--meta", "none", "--output-path", "checxray_client", "--fail-on-warning"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    example = re.search(r"```python\n(.*?)```", (PROJECT_ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "film.png").write_bytes(png(1))
    (tmp_path / "film.dcm").write_bytes(dicom(2))

    run = subprocess.run(
        [sys.executable, "-c", example[1]],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "CHECXRAY_URL": live.url, "CHECXRAY_KEY": north.api_key},
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    first, second, array, studies = run.stdout.splitlines()
    assert first.startswith("film.dcm starter:1 True")
    assert second.startswith("film.png starter:1 True")
    assert re.fullmatch(r"array starter:1 \w+ 0\.\d{3}", array)
    assert studies == "studies 0"


def test_the_examples_with_curl_run(live: WebServer, north: Hospital, tmp_path: Path) -> None:
    for name, content in (("film.dcm", dicom(1)), ("one.dcm", dicom(2)), ("two.png", png(3))):
        (tmp_path / name).write_bytes(content)
    pages = [(PROJECT_ROOT / "docs" / name).read_text() for name in ("api.md", "webhooks.md")]
    examples = re.findall(r"```bash\n(.*?)```", "".join(pages), re.DOTALL)
    outputs = {}
    for example in examples:
        if "openapi-python-client" in example:
            continue
        run = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", example.replace("curl ", "curl --fail-with-body -sS ")],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "url": live.url, "key": north.api_key},
        )  # fmt: skip
        assert run.returncode == 0, example + run.stdout + run.stderr
        outputs[example] = run.stdout
    predicted, twice, found, again, webhook = outputs.values()
    assert predicted.count("starter:1") == 3
    assert twice[: len(twice) // 2] == twice[len(twice) // 2 :] != ""
    assert found.count('"results":[]') == 2
    assert again == "304\n"
    assert '"delivery"' in webhook
    assert '"name":"RIS"' in webhook


def test_an_answer_is_given_within_its_bound(live: WebServer, north: Hospital) -> None:
    started = time.monotonic()
    assert post(live, north, png(1), "image/png").status_code == 200
    assert time.monotonic() - started < 10
