"""The DIMSE listener as in production, in its own process."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from tests.conftest import PEER

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
VERIFICATION = "1.2.840.10008.1.1"


@dataclass
class ListenerProcess:
    port: int
    process: subprocess.Popen

    def associate(self, called: str, *datasets: Dataset, calling: str = PEER) -> Association:
        """An association that proposes verification, and what the data sets need."""
        entity = AE(ae_title=calling)
        wanted = {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in datasets}
        contexts = [build_context(VERIFICATION), *(build_context(abstract, syntax) for abstract, syntax in wanted)]
        return entity.associate("127.0.0.1", self.port, contexts=contexts, ae_title=called)

    def store(self, called: str, *datasets: Dataset) -> list[int]:
        """The statuses of C-STORE, one association for all."""
        association = self.associate(called, *datasets)
        assert association.is_established
        statuses = [association.send_c_store(each).Status for each in datasets]
        association.release()
        return statuses

    def echo(self, called: str) -> int:
        association = self.associate(called)
        assert association.is_established
        status = association.send_c_echo().Status
        association.release()
        return status


def drop(association: Association) -> None:
    """End an association from the peer's side without a word, and its socket with it."""
    sock = association.dul.socket.socket
    if sock is None:
        return
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    association.join(timeout=60)
    association.dul.join(timeout=60)
    sock.close()


@contextmanager
def listener_process(**environment: str) -> Iterator[ListenerProcess]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "manage.py", "dimse_listener", "--port", "0"],
        cwd=PROJECT_ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("DIMSE listener ready on "), line
        yield ListenerProcess(int(line.rsplit(":", 1)[1]), process)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
