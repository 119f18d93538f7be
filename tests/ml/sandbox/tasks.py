"""Functions that the tests of the sandbox run in children; most of them misbehave in one way."""

import os
import pickle
import resource
import socket
import stat
import struct
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
    """Write to file descriptor 1, as a careless library might."""
    os.write(1, b"x" * 1000)
    return "quiet"


def torch_loaded() -> bool:
    return "torch" in sys.modules


def limits() -> dict[str, tuple[int, int]]:
    names = ("RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_CPU")
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import os; os.environ['CHECXRAY_OWNED'] = '1'",)


def parent_socket() -> socket.socket:
    """The child's socket to its parent, found as malicious code in the child would find it."""
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                return socket.socket(fileno=descriptor)
        except OSError:
            continue
    raise RuntimeError("no socket")


def task_number() -> int:
    """The number of the running task, read from the memory of the process."""
    frame = sys._getframe()
    while not isinstance(task := frame.f_locals.get("task"), dict):
        assert frame.f_back is not None
        frame = frame.f_back
    return int(task["number"])


def answer(kind: str) -> str:
    """Send a forged reply instead of the result, as malicious code in the child might."""
    array = b'{"number": %d, "outcome": "done", "value": {"$array": ["|u1", [%d]]}}'
    parent, number = parent_socket(), task_number()
    if kind == "pickle":
        data = pickle.dumps(("done", Evil()))
        parent.sendall(struct.pack("<Q", len(data)) + data)
    elif kind == "endless-header":
        parent.sendall(struct.pack("<I", 0xFFFFFFFF) + b"{" * 100_000)
    elif kind == "deep":
        parent.sendall(struct.pack("<I", 60_000) + b"[" * 60_000)
    elif kind == "huge":
        header = array % (number, 10 << 30)
        parent.sendall(struct.pack("<I", len(header)) + header)
    elif kind == "object":
        header = b'{"number": %d, "outcome": "done", "value": {"$array": ["|O8", [4]]}}' % number
        parent.sendall(struct.pack("<I", len(header)) + header)
    elif kind == "negative":
        header = b'{"number": %d, "outcome": "done", "value": {"$array": ["|u1", [-4]]}}' % number
        parent.sendall(struct.pack("<I", len(header)) + header)
    elif kind == "truncated":
        header = array % (number, 1000)
        parent.sendall(struct.pack("<I", len(header)) + header + b"x" * 10)
        os._exit(0)
    elif kind == "refusal":
        header = b'{"number": %d, "outcome": "rejected", "code": "no-such", "detail": 5}' % number
        parent.sendall(struct.pack("<I", len(header)) + header)
    elif kind == "of-another":
        header = b'{"number": 7, "outcome": "done", "value": 1}'
        parent.sendall(struct.pack("<I", len(header)) + header)
    time.sleep(30)
    return kind


def answer_twice() -> str:
    """Send a reply for the next task before that task was sent."""
    header = b'{"number": %d, "outcome": "done", "value": "forged"}' % (task_number() + 1)
    answered = b'{"number": %d, "outcome": "done", "value": "first"}' % task_number()
    parent = parent_socket()
    for each in (answered, header):
        parent.sendall(struct.pack("<I", len(each)) + each)
    time.sleep(30)
    return ""


def wrong_square(source: Any, input_space: Any, *_: Any) -> dict[str, Any]:
    return {"tensor_u8": np.zeros((3, 3), np.uint8), "rows": 3, "columns": 3, "warnings": []}


def attempt(what: str, target: Any) -> str:
    """Try one way out of the confinement; returns the name of the error that stopped it, or its result."""
    try:
        return "GOT " + str(_attempt(what, target))[:200]
    except (OSError, ImportError) as error:
        return type(error).__name__


def _attempt(what: str, target: Any) -> Any:
    match what:
        case "read":
            return Path(target).read_bytes()
        case "write":
            return Path(target).write_bytes(b"x")
        case "list":
            return os.listdir(target)  # noqa: PTH208 (the system call itself)
        case "parent":
            return Path(f"/proc/{target}/environ").read_bytes()
        case "memory":
            return os.open(f"/proc/{target}/mem", os.O_RDONLY)
        case "tcp":
            return socket.create_connection(("127.0.0.1", target), timeout=2)
        case "unix":
            return socket.socket(socket.AF_UNIX).connect(target)
        case "program":
            return os.execv("/bin/true", ["true"])  # noqa: S606
        case "fork":
            return os.fork()
        case "kill":
            return os.kill(target, 0)
        case "kill-self":
            return os.kill(os.getpid(), 9)
        case "limit":
            return resource.prlimit(target, resource.RLIMIT_NOFILE)
        case "environment":
            return dict(os.environ) or _nothing()
        case "descriptors":
            return [each for each in range(64) if _is_open(each) and each > 2] or _nothing()
        case "import":
            return __import__(target)
    raise ValueError(what)


def _nothing() -> None:
    raise FileNotFoundError


def _is_open(descriptor: int) -> bool:
    try:
        return bool(os.fstat(descriptor))
    except OSError:
        return False


def content(file: Any) -> bytes:
    return file.read()


def hold_memory(size: int, seconds: float) -> int:
    held = bytearray(b"x") * size
    time.sleep(seconds)
    return len(held)
