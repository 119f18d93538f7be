"""The child of `ml.sandbox`: answers one task after the other under limits, and touches hostile bytes so its parent
need not.

Started as `python -m ml.sandbox_child`: a fresh interpreter, because a fork of a threaded parent is unsafe and would
bring the parent's memory (and torch, whose address space alone breaks the limit) along.
"""

import contextlib
import ctypes
import importlib
import math
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ml.errors import InputRejected

HEADER = struct.Struct("<Q")
GRACE_SECONDS = 2.0
_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_NO_NEW_PRIVS = 0x10000000, 0x40000000, 38


def main() -> int:
    """Serve until the parent's end of the pipe closes. Arguments: memory bytes, CPU seconds, wall seconds, open
    files."""
    memory_bytes, cpu_seconds, wall_seconds, open_files = (int(argument) for argument in sys.argv[1:5])
    requests, replies = _take_over_pipes()
    importlib.import_module("ml.serving_input")
    # A bare GPU box that trains on PNG or JPEG has no DICOM codecs.
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("imagecodecs")
    _limit(memory_bytes, open_files)
    leave_network()
    _send(replies, pickle.dumps(("ready", os.getpid())))
    while True:
        header = requests.read(HEADER.size)
        if len(header) < HEADER.size:
            return 0
        data = requests.read(HEADER.unpack(header)[0])
        _arm(cpu_seconds, wall_seconds)
        reply, spent = _answer(data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(replies, reply)
        if spent:
            return 0


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the two pipes for the protocol and point the standard streams elsewhere, so that no library writes into
    it."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, replies


def _limit(memory_bytes: int, open_files: int) -> None:
    wanted = {"RLIMIT_AS": memory_bytes, "RLIMIT_NOFILE": open_files, "RLIMIT_CORE": 0}
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            # macOS knows but does not grant RLIMIT_AS; there the checks before decoding carry the load.
            continue


def leave_network() -> None:
    """No new privileges and, where the kernel allows it, a network namespace without any interface."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _arm(cpu_seconds: int, wall_seconds: int) -> None:
    """Both limits end the process by signal; the timer also ends a child whose parent is gone."""
    signal.setitimer(signal.ITIMER_REAL, wall_seconds + GRACE_SECONDS)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime) + cpu_seconds, hard))


def _answer(data: bytes) -> tuple[bytes, bool]:
    """A pickled reply, and whether this process should end because its memory was exhausted."""
    try:
        function, arguments = _load_task(data)
        return pickle.dumps(("done", function(*arguments)), protocol=5), False
    except InputRejected as refusal:
        return pickle.dumps(("rejected", refusal.code, refusal.detail, "")), False
    except MemoryError:
        return pickle.dumps(
            ("rejected", "decode-memory", "Decoding needs too much memory. Export the image anew.", "")
        ), True
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        detail = f"The stored file could not be opened ({type(error).__name__})."
        return pickle.dumps(("rejected", "source-unreadable", detail, _where(error))), False
    except Exception as error:
        detail = f"The image can't be read ({type(error).__name__}). Export it anew, or uncompressed."
        return pickle.dumps(("rejected", "decode-failed", detail, _where(error))), False


def _load_task(data: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    function, arguments = pickle.loads(data)  # noqa: S301 (written by the parent, which this process trusts)
    return function, arguments


def _where(error: Exception) -> str:
    """Kind and places of an error without its message, which may quote the file."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))


def _send(replies: BinaryIO, data: bytes) -> None:
    replies.write(HEADER.pack(len(data)) + data)
    replies.flush()


if __name__ == "__main__":
    try:
        code = main()
    except BrokenPipeError:
        code = 0
    # Interpreter shutdown would flush what no one reads any more.
    os._exit(code)
