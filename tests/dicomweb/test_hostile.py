"""Malformed, hostile and incomplete uploads to the production server: each gets a typed answer; others go on."""

import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from django.test import Client

from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.web import MULTIPART, WebServer, multipart, values
from tests.ml import samples

SLOWEST = 2.0
GROWTH = 50 * 2**20


class ServerMonitor:
    """Sends films, times the answers, and checks that the server's processes are still the same."""

    def __init__(self, web: WebServer, hospital: Hospital, good: Callable[..., bytes]) -> None:
        self._web, self._hospital, self._good = web, hospital, good
        self._workers = [worker.pid for worker in web.workers()]
        self._good_sent = 0
        self.seconds: list[float] = []
        self.send_good()
        self._resident = web.resident_bytes()

    def send(self, film: bytes) -> requests.Response:
        return self.timed(lambda: self._web.stow(self._hospital.api_key, [film]))

    def timed(self, request: Callable[[], requests.Response]) -> requests.Response:
        started = time.monotonic()
        answer = request()
        self.seconds.append(time.monotonic() - started)
        return answer

    def send_good(self) -> None:
        self._good_sent += 1
        answer = self._web.stow(self._hospital.api_key, [self._good(1, patient_id=f"GOOD-{self._good_sent}")])
        assert answer.status_code == 200, answer.text

    def check(self) -> None:
        assert [worker.pid for worker in self._web.workers()] == self._workers
        slowest = sorted(self.seconds)[: max(1, int(len(self.seconds) * 0.99))][-1]
        assert slowest <= SLOWEST
        assert self._web.resident_bytes() - self._resident < GROWTH


@pytest.fixture
def watch(web: WebServer, north: Hospital, film: Callable[..., bytes]) -> Iterator[ServerMonitor]:
    watching = ServerMonitor(web, north, film)
    yield watching
    watching.check()


def files_below(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found
    return found


@pytest.mark.parametrize("folder", ["odd", "hostile", "chest", "other"])
def test_every_file_gets_a_typed_answer(folder: str, watch: ServerMonitor, test_data: Path) -> None:
    for number, path in enumerate(files_below(test_data / "dicom" / folder)):
        answer = watch.send(path.read_bytes())
        assert answer.status_code in (200, 409), (path.name, answer.status_code, answer.text)
        refused = values(answer.json(), "00081198") + values(answer.json(), "0008119A")
        if answer.status_code == 409:
            (refusal,) = refused
            assert values(refusal, "00081197")[0] in (0x0110, 0x0111, 0x0122, 0xA700, 0xA900, 0xC000, 0xC122)
            assert answer.headers["Warning"].startswith("299 ")
        else:
            assert not refused
        if number % 20 == 0:
            watch.send_good()


def test_bombs_are_refused_at_once(watch: ServerMonitor) -> None:
    bombs = {
        "j2k": samples.j2k_bomb(),
        "deflate": samples.deflate_bomb(),
        "items": samples.items_bomb(),
        "depth": samples.depth_bomb(),
        "elements": samples.elements_bomb(),
    }
    for name, bomb in bombs.items():
        assert watch.send(bomb).status_code == 409, name
        watch.send_good()
    assert max(watch.seconds) <= SLOWEST


def test_seeded_mutants(watch: ServerMonitor, test_data: Path) -> None:
    rng = random.Random(20)
    originals = [path.read_bytes() for path in files_below(test_data / "dicom" / "odd")]
    originals = [original for original in originals if len(original) < 300_000]
    for _ in range(150):
        mutant = bytearray(rng.choice(originals))
        for _ in range(rng.randrange(1, 12)):
            mutant[rng.randrange(min(len(mutant), 2000))] = rng.randrange(256)
        if rng.random() < 0.3:
            del mutant[rng.randrange(len(mutant)) :]
        assert watch.send(bytes(mutant)).status_code in (200, 409)
    watch.send_good()


def test_a_hundred_thousand_parts(watch: ServerMonitor, web: WebServer, north: Hospital) -> None:
    answer = watch.timed(lambda: web.stow(north.api_key, [b""] * 100_000))
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    watch.send_good()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_an_upload_cut_off_stores_nothing(
    kept: float, web: WebServer, north: Hospital, film: Callable[..., bytes], settings: object
) -> None:
    body = multipart([film(1), film(2)])
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as sock:
        sock.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
            f"Authorization: Bearer {north.api_key}\r\nContent-Type: {MULTIPART}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        sock.sendall(body[: int(len(body) * kept)])
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    with tenant_tx(north.tenant.id):
        assert Instance.objects.count() == 0
    assert [path for path in settings.SPOOL_DIR.rglob("*") if path.is_file()] == []


def test_a_chunked_upload_cut_off_stores_nothing(web: WebServer, north: Hospital, film: Callable[..., bytes]) -> None:
    whole = film(1)
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as sock:
        sock.sendall(
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
            f"Authorization: Bearer {north.api_key}\r\nContent-Type: application/dicom\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n{len(whole):x}\r\n".encode()
            + whole
            + b"\r\n5\r\nab"
        )
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(4096).startswith(b"HTTP/1.1 400 ")
    with tenant_tx(north.tenant.id):
        assert Instance.objects.count() == 0


def test_a_stranger_with_a_large_body_is_told_so(web: WebServer, north: Hospital) -> None:
    answer = web.stow("chx_forged.key", [bytes(30 * 2**20)])
    assert answer.status_code == 401


def test_no_space_is_said_as_such(north: Hospital, film: Callable[..., bytes], settings: object) -> None:
    settings.SPOOL_FREE_FLOOR_BYTES = 2**62
    answer = Client().post("/dicom-web/studies", multipart([film(1)]), content_type=MULTIPART, headers=north.bearer)
    assert answer.status_code == 507
    assert answer.headers["Retry-After"]
