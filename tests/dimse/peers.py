"""DICOM applications as peers: programs of DCMTK, each on a free port, and Orthanc."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.dicomweb.web import free_port

TITLE = "ARCHIVE"


def dcmtk(name: str) -> str:
    """DCMTK's program: an activated environment has pynetdicom's of the same name first."""
    environments = {Path(sys.executable).parent, Path(os.environ.get("VIRTUAL_ENV", "/")) / "bin"}
    path = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) not in environments]
    found = shutil.which(name, path=os.pathsep.join(path))
    return found or pytest.skip(f"DCMTK's {name} is absent: apt-get install dcmtk")


def run(name: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of DCMTK to its end; standard error is in ``stdout`` too."""
    return subprocess.run(
        [dcmtk(name), *arguments], cwd=cwd, timeout=60, check=False, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@dataclass
class Receiver:
    """A running ``storescp`` and the folder of what it received."""

    port: int
    folder: Path

    def received(self) -> list[Dataset]:
        return [pydicom.dcmread(path) for path in sorted(self.folder.iterdir())]


@contextmanager
def storescp(folder: Path, *arguments: str, **options: Any) -> Iterator[Receiver]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [dcmtk("storescp"), "-aet", TITLE, "-od", str(folder), *arguments, str(port)]
    with process(command, port, **options):
        yield Receiver(port, folder)


@contextmanager
def process(command: list[str], port: int, **options: Any) -> Iterator[None]:
    """Run a program for as long as the block runs; it listens on the port when the block begins."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert running.poll() is None, command
                assert time.monotonic() < deadline, command
                time.sleep(0.05)
        yield
    finally:
        running.terminate()
        running.wait(30)
