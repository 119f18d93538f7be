"""What children are asked to do in test_sandbox: each function is one way to misbehave, or to behave."""

import os
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import InputRejected


def double(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return values * 2


def reject() -> None:
    raise InputRejected("too-deep", "Say less.")


def fail(secret: str) -> None:
    raise KeyError(secret)


def open_missing() -> None:
    Path("/nonexistent/file").read_bytes()


def take_memory(size: int) -> int:
    return len(bytearray(size))


def burn() -> None:
    while True:
        pass


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def die(status: int) -> None:
    os._exit(status)


def signal_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)


def chatter() -> str:
    """Writes where a careless library would: into file descriptor 1."""
    os.write(1, b"x" * 1000)
    return "quiet"


def torch_loaded() -> bool:
    return "torch" in sys.modules


def environment() -> dict[str, str]:
    return dict(os.environ)


def limits() -> dict[str, tuple[int, int]]:
    names = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_CPU")
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import os; os.environ['CHECXRAY_OWNED'] = '1'",)


def answer_code() -> Evil:
    """What a child that a file has taken over might answer: a pickle that calls a function of its reader's."""
    return Evil()
