"""DIMSE over TLS: its own port, certificates of both sides, and peers identified by their certificate."""

import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.acse import ACSE

from apps.results.clients.association import PeerError, RemoteNode
from apps.results.clients.store_scu import echo
from apps.routing.models import Peer
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dimse import wire
from tests.dimse.listening import ListenerProcess, listener_process
from tests.dimse.peers import TITLE, storescp
from tests.dimse.test_listener import count, dcmtk

SUBJECT = "/O=Clinic/CN=ct1"


def openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates for the listener, for a client, and for a client of another authority."""
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("ca", "other-ca"):
        openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={authority}", "-keyout", f"{authority}.key",
                "-out", f"{authority}.pem", cwd=folder)  # fmt: skip
    for name, subject, authority in (
        ("server", "/CN=localhost", "ca"), ("client", SUBJECT, "ca"), ("foreign", SUBJECT, "other-ca"),
    ):  # fmt: skip
        openssl(*new, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=folder)
        openssl("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem", cwd=folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tls_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def tls_listener(north: Hospital, certificates: Path, tls_port: int) -> Iterator[ListenerProcess]:
    settings = {
        "DIMSE_TLS_PORT": str(tls_port),
        "DIMSE_TLS_CERTIFICATE": str(certificates / "server.pem"),
        "DIMSE_TLS_KEY": str(certificates / "server.key"),
        "DIMSE_TLS_CLIENT_CA": str(certificates / "ca.pem"),
    }
    with listener_process(**settings) as listener:
        yield listener


def associates(port: int, certificates: Path, name: str = "client", version: ssl.TLSVersion | None = None) -> bool:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.check_hostname = False
    if name:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    if version is not None:
        context.minimum_version = context.maximum_version = version
    try:
        with wire.peer(port, context) as caller:
            answer = caller.ask(wire.associate_rq())
            if answer is not None and answer[0] == wire.ASSOCIATE_AC:
                echoed = caller.ask(wire.echo_rq())
                assert echoed is not None
                assert echoed[0] == wire.P_DATA
                return caller.ask(wire.pdu(5)) == (wire.RELEASE_RP, bytes(4))
            return False
    except OSError:
        # The listener ended the handshake.
        return False


def ask_for(hospital: Hospital, certificate: str) -> None:
    with tenant_tx(hospital.tenant.id):
        Peer.objects.update(certificate=certificate)


def test_certificates_decide(tls_listener: ListenerProcess, north: Hospital, certificates: Path, tls_port: int) -> None:
    assert associates(tls_port, certificates)
    assert associates(tls_port, certificates, version=ssl.TLSVersion.TLSv1_2)
    assert not associates(tls_port, certificates, "foreign")
    assert not associates(tls_port, certificates, "")

    der = ssl.PEM_cert_to_DER_cert((certificates / "client.pem").read_text())
    for listed, fits in (
        (hashlib.sha256(der).hexdigest(), True),
        ("CN=ct1,O=Clinic", True),
        ("O=Clinic,CN=ct2", False),
        ("0" * 64, False),
    ):
        ask_for(north, listed)
        assert associates(tls_port, certificates) is fits, listed
        # Without TLS there is no certificate.
        assert tls_listener.associate("NORTH").is_rejected


def test_silent_handshakes_keep_no_one_out(
    tls_listener: ListenerProcess, north: Hospital, certificates: Path, tls_port: int
) -> None:
    silent = [socket.create_connection(("127.0.0.1", tls_port)) for _ in range(200)]
    for each in silent[::2]:
        each.sendall(b"\x16\x03\x01")
    assert associates(tls_port, certificates)
    for each in silent:
        each.close()


@pytest.mark.peer("DCMTK", "C-STORE to us with TLS")
def test_storescu(
    tls_listener: ListenerProcess,
    north: Hospital,
    certificates: Path,
    tls_port: int,
    film: Callable[..., Dataset],
    tmp_path: Path,
) -> None:
    program = dcmtk("storescu") or pytest.skip("DCMTK's storescu is absent: apt-get install dcmtk")
    path = tmp_path / "film.dcm"
    film(1).save_as(path)
    command = [
        program, "+tls", str(certificates / "client.key"), str(certificates / "client.pem"),
        "+cf", str(certificates / "ca.pem"), "-aet", PEER, "-aec", "NORTH", "127.0.0.1", str(tls_port), str(path),
    ]  # fmt: skip
    # DCMTK reads random bytes from here.
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert count(north) == (1, 1)


@pytest.fixture
def client_certificate(certificates: Path, settings: Any) -> None:
    settings.DIMSE_TLS_CLIENT_CA = str(certificates / "ca.pem")
    settings.DIMSE_TLS_CERTIFICATE, settings.DIMSE_TLS_KEY = (
        str(certificates / f"client.{end}") for end in ("pem", "key")
    )


@pytest.mark.usefixtures("client_certificate")
def test_session_tickets_before_our_request(
    tls_listener: ListenerProcess, tls_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TLS 1.3 peer sends tickets after the handshake, which hold no PDU: on a busy machine they come first."""
    send_request = ACSE.send_request

    def send_late(self: ACSE) -> None:
        time.sleep(0.5)
        send_request(self)

    monkeypatch.setattr(ACSE, "send_request", send_late)
    echo(RemoteNode("localhost", tls_port, "NORTH", PEER, tls=True, networks=("127.0.0.0/8", "::1/128")))


@pytest.mark.usefixtures("client_certificate")
@pytest.mark.peer("DCMTK", "C-ECHO from us with TLS")
def test_we_call_a_peer_with_tls(certificates: Path, tmp_path: Path, settings: Any) -> None:
    """The peer wants our certificate, and shows one of an authority that we know, for its host or as it is listed."""
    environment = os.environ | {"HOME": str(tmp_path)}
    tls = [
        "+tls",
        str(certificates / "server.key"),
        str(certificates / "server.pem"),
        "+cf",
        str(certificates / "ca.pem"),
    ]
    with storescp(tmp_path / "in", *tls, env=environment) as receiver:

        def answer(host: str = "localhost", certificate: str = "", is_tls: bool = True) -> str:
            node = RemoteNode(host, receiver.port, TITLE, "NORTH", is_tls, certificate, ("127.0.0.0/8", "::1/128"))
            try:
                echo(node)
            except PeerError as error:
                return error.problem.value
            return "answered"

        assert answer() == "answered"
        assert answer("127.0.0.1") == "tls-failed"
        assert answer("127.0.0.1", "CN=localhost") == "answered"
        assert answer("127.0.0.1", "CN=another") == "tls-failed"
        assert answer(is_tls=False) != "answered"
        settings.DIMSE_TLS_CLIENT_CA = str(certificates / "other-ca.pem")
        assert answer() == "tls-failed"


def test_a_file_that_cannot_be_used_is_named(north: Hospital, certificates: Path, tls_port: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "dimse_listener", "--port", "0"],
        env=os.environ | {"DIMSE_TLS_PORT": str(tls_port), "DIMSE_TLS_CERTIFICATE": str(certificates / "none.pem")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "DIMSE_TLS_CERTIFICATE" in done.stderr
