"""The web server without a proxy: malformed requests, slow clients, and a stop under load."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from django.contrib.auth.hashers import make_password

from ml.phantom import write_dicom
from tests.conftest import PASSWORD, PROJECT_ROOT, Hospital
from tests.dicomweb.web import MULTIPART, WebServer, multipart, running_web_server
from tests.faults.malformed import HIDDEN, HOST, MALFORMED
from tests.faults.raw import SlowClients, converse, in_parallel, seconds_of
from tests.synthetic import synthetic_image

Film = Callable[..., bytes]
SLOWEST = 2.0


@pytest.fixture(scope="session")
def film() -> Film:
    """A small synthetic chest image as DICOM; the same arguments give the same bytes."""
    image = synthetic_image(1, 256)

    def made(**attributes: Any) -> bytes:
        target = BytesIO()
        write_dicom(image, target, **attributes)
        return target.getvalue()

    return made


@pytest.fixture(scope="module")
def server(servers: None) -> Iterator[WebServer]:
    with running_web_server(workers=2, threads=4) as running:
        yield running


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_request_ends_the_connection(server: WebServer, name: str) -> None:
    request, status = MALFORMED[name]
    statuses, received, has_ended = converse(server.port, request + HIDDEN)
    assert (statuses, has_ended) == ([status], True), received
    assert b"application/problem+json" in received
    assert b"close" in received.lower()


def test_well_formed_oddities_are_served(server: WebServer) -> None:
    def statuses(request: bytes) -> list[int]:
        return converse(server.port, request)[0]

    last = b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    assert statuses(HIDDEN + HIDDEN + last) == [200, 200, 200], "pipelined"
    assert statuses(b"\r\n" + last) == [200]
    assert statuses(b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n") == [200]
    assert statuses(b"GET http://evil.invalid/sign-in/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") == [400]
    assert statuses(b"GET /healthz HTTP/1.0\r\n\r\n" + HIDDEN) == [200], "HTTP/1.0 ends its connection"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    for upgrade in (
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + key,
    ):
        assert statuses(last.replace(b"Connection: close\r\n", upgrade)) == [200], "HTTP/1 goes on"
    head = converse(server.port, last.replace(b"GET /healthz", b"HEAD /sign-in/"))[1]
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) > 1000


def test_a_refused_body_that_turns_malformed_gets_one_answer(server: WebServer) -> None:
    request = b"POST /dicom-web/studies HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello"
    statuses, received, has_ended = converse(server.port, request + b"zz\r\n" + HIDDEN)
    assert len(statuses) == 1, received
    assert statuses[0] in (400, 401)
    assert has_ended


def test_continue_is_sent_only_where_the_body_is_wanted(server: WebServer, north: Hospital, film: Film) -> None:
    body = multipart([film()])
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {MULTIPART}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n"
    )
    statuses, received, has_ended = converse(server.port, f"{head}\r\n".encode())
    assert (statuses, has_ended) == ([401], True), received
    key = f"Authorization: Bearer {north.api_key}\r\nConnection: close\r\n\r\n"
    assert converse(server.port, f"{head}{key}".encode())[0][0] == 100
    assert converse(server.port, f"{head}{key}".encode() + body)[0][-1] == 200


def test_chunked_bodies_on_every_post(server: WebServer, north: Hospital, film: Film) -> None:
    with requests.Session() as session:
        sign_in_and_upload(server, north, film, session)


def sign_in_and_upload(server: WebServer, north: Hospital, film: Film, session: requests.Session) -> None:
    page = session.get(f"{server.url}/sign-in/", timeout=10)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    form = f"csrfmiddlewaretoken={token}&username={north.radiologist.email}&password={PASSWORD.replace(' ', '+')}"
    signed_in = session.post(
        f"{server.url}/sign-in/",
        data=iter([form[:30].encode(), form[30:].encode()]),
        headers={"Content-Type": "application/x-www-form-urlencoded", "Referer": server.url},
        timeout=10,
        allow_redirects=False,
    )
    assert signed_in.status_code == 302, signed_in.text
    assert session.get(f"{server.url}/", timeout=10).status_code == 200
    token = session.cookies["csrftoken"]
    fields = {"csrfmiddlewaretoken": (None, token), "files": ("a.dcm", film()), "complete": (None, "1")}
    prepared = session.prepare_request(requests.Request("POST", f"{server.url}/upload/", files=fields))
    content = prepared.body
    uploaded = session.post(
        f"{server.url}/upload/",
        data=iter([content[:100_000], content[100_000:]]),
        headers={"Content-Type": prepared.headers["Content-Type"], "X-CSRFToken": token},
        timeout=10,
    )
    assert uploaded.status_code == 200, uploaded.text
    assert "1.2." in uploaded.text or "stored" in uploaded.text.lower()


def test_strangers_fill_no_spool(server: WebServer, north: Hospital) -> None:
    mark, rest = north.api_key.split(".", 1)
    forged = f"{mark}.{rest[::-1]}"
    for key in ("chx_nonsense", forged):
        answer = requests.post(
            f"{server.url}/dicom-web/studies",
            data=bytes(20_000_000),
            headers={"Content-Type": MULTIPART, "Authorization": f"Bearer {key}"},
            timeout=30,
        )
        assert answer.status_code == 401
    for path in ("/sign-in/", "/admin/login/"):
        answer = requests.post(f"{server.url}{path}", data=bytes(5_000_000), timeout=30)
        assert answer.status_code == 413
    read = sum(worker.io_counters().write_chars for worker in server.workers())
    assert read < 20_000_000, "the bodies were not written anywhere"


def test_who_sends_too_slowly_is_cut_off(server: WebServer, north: Hospital) -> None:
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {north.api_key}\r\n"
    slow = [b"", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", f"{head}Content-Length: 9\r\n\r\nslow".encode()]
    with ThreadPoolExecutor(len(slow)) as threads:
        answers = list(threads.map(lambda begun: converse(server.port, begun, patience=15.0), slow))
    assert [statuses for statuses, _, _ in answers] == [[], [408], [408]]
    assert all(has_ended for _, _, has_ended in answers)


def sign_in(server: WebServer, hospital: Hospital, session: requests.Session) -> int:
    page = session.get(f"{server.url}/sign-in/", timeout=60)
    token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    form = {"csrfmiddlewaretoken": token, "username": hospital.radiologist.email, "password": PASSWORD}
    headers = {"Referer": server.url}
    return session.post(page.url, form, headers=headers, timeout=60, allow_redirects=False).status_code


class Patients:
    """The clients that must be served while others misbehave."""

    def __init__(self, server: WebServer, hospital: Hospital, film: Film) -> None:
        self._server, self._hospital, self._film = server, hospital, film
        self._number = 0
        self.session = requests.Session()
        assert sign_in(server, hospital, self.session) == 302

    def healthz(self) -> None:
        assert requests.get(f"{self._server.url}/healthz", timeout=10).status_code == 200

    def worklist(self) -> None:
        cookies = self.session.cookies.get_dict()
        answer = requests.get(f"{self._server.url}/", cookies=cookies, timeout=10, allow_redirects=False)
        assert answer.status_code == 200

    def stow(self) -> None:
        self._number += 1
        instance = self._film(patient_id=f"P-{self._number}")
        assert self._server.stow(self._hospital.api_key, [instance]).status_code == 200


def attack(clients: SlowClients, count: int, hospital: Hospital) -> None:
    key = f"Authorization: Bearer {hospital.api_key}\r\n"
    kinds: list[Callable[[], None]] = [
        clients.silent,
        clients.half_header,
        lambda: clients.dripping_body("/dicom-web/studies", key),
        lambda: clients.dripping_body("/sign-in/"),
        lambda: clients.chunk_by_chunk("/dicom-web/studies", key),
        lambda: clients.reads_nothing("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"),
    ]
    for number in range(count):
        kinds[number % len(kinds)]()


def open_connections(server: WebServer) -> dict[int, str]:
    """The clients' ports, and in which state the server has their connections."""
    found = [connection for worker in server.workers() for connection in worker.net_connections("tcp")]
    here = [each for each in found if each.laddr.port == server.port and each.raddr]
    return {each.raddr.port: each.status for each in here}


def private_bytes(server: WebServer) -> int:
    """Without the pages that the processes share: those count for each process from when it first touches them."""
    return sum(worker.memory_full_info().uss for worker in server.workers())


def hold(
    server: WebServer, hospital: Hospital, film: Film, *, sockets: int, sign_ins: int, rounds: int, until_gone: bool
) -> None:
    """Serve everybody within two seconds while others are slow and sign in; memory stays, and the slow ones go."""
    patients = Patients(server, hospital, film)
    patients.stow()
    before = private_bytes(server)
    with SlowClients(server.port) as clients:
        attack(clients, sockets, hospital)
        # A thousand at one moment need a second or two to be accepted.
        time.sleep(sockets / 250)
        statuses: list[int] = []

        def one_more() -> None:
            with requests.Session() as session:
                statuses.append(sign_in(server, hospital, session))

        with in_parallel([one_more] * sign_ins):
            slowest = {}
            for _ in range(rounds):
                for call in (patients.healthz, patients.stow, patients.worklist):
                    slowest[call.__name__] = max(slowest.get(call.__name__, 0.0), seconds_of(call))
        assert len(statuses) == sign_ins
        assert 302 in statuses
        # 503: a hundred hashes wait for half a minute at most.
        assert set(statuses) <= {302, 503}
        grown = private_bytes(server) - before
        patients.session.close()
        deadline = time.monotonic() + 60
        while until_gone and open_connections(server) and time.monotonic() < deadline:
            time.sleep(0.5)
        left = {clients.kinds.get(port, "another"): status for port, status in open_connections(server).items()}
        assert not (until_gone and left), "slow clients were not cut off"
    assert max(slowest.values()) <= SLOWEST, (slowest, grown)
    assert grown < (60 + sockets / 5) * 2**20


def test_slow_clients_delay_nobody(server: WebServer, north: Hospital, film: Film) -> None:
    hold(server, north, film, sockets=60, sign_ins=10, rounds=6, until_gone=False)


@pytest.mark.long
@pytest.mark.parametrize("sockets", [200, 1000])
def test_many_slow_clients_and_real_passwords(
    sockets: int, servers: None, north: Hospital, film: Film, settings: Any
) -> None:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings.embedded"}
    collect = [sys.executable, "manage.py", "collectstatic", "--no-input", "-v0"]
    subprocess.run(collect, cwd=PROJECT_ROOT, env=environment, check=True, timeout=120)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    north.radiologist.password = make_password(PASSWORD)
    north.radiologist.save()
    with running_web_server(workers=2, threads=8, DJANGO_SETTINGS_MODULE="config.settings.embedded") as server:
        hold(server, north, film, sockets=sockets, sign_ins=50, rounds=20, until_gone=True)


def test_new_workers_and_a_stop_fail_no_request(servers: None, north: Hospital, film: Film) -> None:
    failures: list[str] = []
    stop = threading.Event()
    counts = [0, 0]

    def use(number: int, server: WebServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        while not stop.is_set():
            try:
                connection.request("GET", "/sign-in/")
                answer = connection.getresponse()
                answer.read()
                counts[number] += 1
                if answer.status != 200:
                    failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()
        connection.close()

    with running_web_server(workers=2, threads=4) as server:
        before = {worker.pid for worker in server.workers()}
        with in_parallel([lambda: use(0, server), lambda: use(1, server)]):
            time.sleep(1)
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 60
            while before & {worker.pid for worker in server.workers()} and time.monotonic() < deadline:
                time.sleep(0.2)
            after = {worker.pid for worker in server.workers()}
            time.sleep(1)
            stop.set()
        assert failures == []
        assert not before & after
        assert min(counts) > 10
        children = psutil.Process(server.process.pid).children()
        begun = time.monotonic()
        server.process.terminate()
        server.process.wait(30)
        assert time.monotonic() - begun < 10
        assert not any(child.is_running() for child in children)


@pytest.mark.long
def test_tls_without_a_proxy(servers: None, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with running_web_server(WEB_TLS_CERTIFICATE=str(certificate), WEB_TLS_KEY=str(key)) as server:
        url = f"https://127.0.0.1:{server.port}/healthz"
        with requests.Session() as session:
            for _ in range(3):
                answer = session.get(url, verify=certificate, headers={"X-Forwarded-Proto": "http"}, timeout=10)
                assert answer.status_code == 200
        # No handshake, and plain HTTP instead of one.
        assert converse(server.port, b"", patience=15.0) == ([], b"", True)
        assert converse(server.port, HIDDEN)[2]
        assert requests.get(url, verify=certificate, timeout=10).status_code == 200
