"""A receiver of webhooks or STOW requests, studies with results, and certificates."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.receiving import Receiver, receiver
from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]


@pytest.fixture
def there(db: None) -> Iterator[Receiver]:
    with receiver() as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and the certificates of a server on 127.0.0.1 and of a client, with their keys."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-x509", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-subj", "/CN=Hospital authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", extension)
        openssl(*new, *signed, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return folder
