"""The sandboxed child process: it decodes files from unknown sources, one task at a time, under limits.

Started as `python -m ml.sandbox.child`. It is a new interpreter and no fork: a fork of a process with threads is
unsafe, and would copy the parent's memory (torch's address space alone exceeds the limit). The child imports all that
it needs, then gives up files, network and other processes (`ml.sandbox.confinement`), and then takes its first task.
"""

import codecs
import contextlib
import importlib
import io
import math
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ml.errors import InputRejected
from ml.sandbox.confinement import confine
from ml.sandbox.wire import LENGTH, MAX_FILES, MAX_MESSAGE_BYTES, pack, parse_header, unpack

TIMER_MARGIN_SECONDS = 2.0
LARGEST_FILE = 512 << 20
# Modules that libraries import only when they first need them.
_LATER_IMPORTS = (
    "numpy.ma",
    "PIL.ExifTags",
    "PIL.GifImagePlugin",
    "PIL.ImageDraw",
    "PIL.JpegImagePlugin",
    "PIL.MpoImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
    "ml.dicom.codecs",
    "ml.dicom.consistency",
    "ml.dicom.image_layout",
    "ml.dicom.parser",
    "pydicom.charset",
    "pydicom.datadict",
    "pydicom.encaps",
    "pydicom.filewriter",
)
_CODECS = ("dicomrle_decode", "jpeg2k_decode", "jpeg8_decode", "jpegls_decode")


def main() -> int:
    """Serve until the parent closes its end of the socket.

    Command line: socket, memory bytes, CPU seconds, wall seconds, open files, and the modules to import.
    """
    descriptor, memory_bytes, cpu_seconds, wall_seconds, open_files = (int(argument) for argument in sys.argv[1:6])
    connection = socket.socket(fileno=descriptor)
    _import_all(sys.argv[6:])
    _set_process_limits(memory_bytes, open_files)
    _send(connection, {"number": 0, "outcome": "ready", "missing": confine()})
    while True:
        files: list[BinaryIO] = []
        length, descriptors = _receive_length(connection)
        if len(length) < LENGTH.size:
            return 0
        _set_task_limits(cpu_seconds, wall_seconds)
        try:
            files = [os.fdopen(each, _mode(each)) for each in descriptors]
            reply, should_exit = _answer(connection, length, files)
        finally:
            for file in files:
                with contextlib.suppress(OSError):
                    file.close()
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(connection, reply)
        if should_exit:
            return 0


def _import_all(modules: Sequence[str]) -> None:
    """Import everything now. A missing module is not an error: a training machine has no DICOM libraries."""
    for name in (*modules, *_LATER_IMPORTS):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    with contextlib.suppress(ModuleNotFoundError):
        imagecodecs = importlib.import_module("imagecodecs")
        for name in _CODECS:
            getattr(imagecodecs, name)
    if (charset := sys.modules.get("pydicom.charset")) is not None:
        for encoding in {"ascii", "latin-1", "utf-8", *charset.python_encoding.values()}:
            with contextlib.suppress(LookupError):
                codecs.lookup(encoding)
    with contextlib.suppress(ImportError):
        from PIL import Image

        Image.preinit()
        for image_format in ("PNG", "JPEG"):
            sample = io.BytesIO()
            Image.new("L", (8, 8)).save(sample, image_format)
            with Image.open(sample, formats=[image_format]) as image:
                image.load()


def _set_process_limits(memory_bytes: int, open_files: int) -> None:
    wanted = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_NOFILE": open_files,
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": LARGEST_FILE,
    }
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            # macOS has no RLIMIT_AS; there the checks before decoding have to be enough.
            continue


def _set_task_limits(cpu_seconds: int, wall_seconds: int) -> None:
    """Set the time limits of one task. A signal ends the process at either limit.

    The timer works even if the parent has ended.
    """
    signal.setitimer(signal.ITIMER_REAL, wall_seconds + TIMER_MARGIN_SECONDS)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime) + cpu_seconds, hard))


def _mode(descriptor: int) -> Any:
    import fcntl

    return "wb" if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY else "rb"


def _receive_length(connection: socket.socket) -> tuple[bytes, list[int]]:
    try:
        length, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, MAX_FILES)
    except ConnectionError:
        return b"", []
    while length and len(length) < LENGTH.size:
        more = connection.recv(LENGTH.size - len(length))
        if not more:
            return b"", []
        length += more
    return length, descriptors


def _answer(connection: socket.socket, length: bytes, files: Sequence[BinaryIO]) -> tuple[dict[str, Any], bool]:
    """The reply, and whether this process should end because its memory was exhausted."""

    def receive(view: memoryview) -> None:
        while view:
            count = connection.recv_into(view)
            if not count:
                raise BrokenPipeError
            view = view[count:]

    header = bytearray(LENGTH.unpack(length)[0])
    receive(memoryview(header))
    task = unpack(parse_header(bytes(header)), receive, MAX_MESSAGE_BYTES, files)
    try:
        value = _call(task["function"], task["arguments"])
        return {"number": task["number"], "outcome": "done", "value": value}, False
    except InputRejected as refusal:
        return _rejection(task, refusal.code, refusal.detail), False
    except MemoryError:
        return _rejection(task, "decode-memory", "Decoding needs too much memory. Export the image again."), True
    except BrokenPipeError:
        raise
    except Exception as error:
        detail = f"The image can't be read ({type(error).__name__}). Export it again, or export it uncompressed."
        return _rejection(task, "decode-failed", detail, _location(error)), False


def _call(name: str, arguments: Sequence[Any]) -> Any:
    """Call a function by its name "module:function". The name comes from the parent, which is trusted."""
    module, _, function = name.partition(":")
    return getattr(sys.modules[module], function)(*arguments)


def _rejection(task: dict[str, Any], code: str, detail: str, where: str = "") -> dict[str, Any]:
    return {"number": task["number"], "outcome": "rejected", "code": code, "detail": detail, "where": where}


def _location(error: Exception) -> str:
    """Class and source lines of an error, without its message, which may quote the file."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)][-4:]
    return f"{type(error).__name__} at " + " < ".join(f"{Path(name).name}:{line}" for name, line in reversed(frames))


def _send(connection: socket.socket, reply: dict[str, Any]) -> None:
    message = pack(reply)
    connection.sendall(LENGTH.pack(len(message.header)) + message.header)
    for buffer in message.buffers:
        connection.sendall(buffer)


if __name__ == "__main__":
    try:
        exit_status = main()
    except (BrokenPipeError, ConnectionError):
        exit_status = 0
    # Skip the interpreter's shutdown: it would flush output that the parent no longer reads.
    os._exit(exit_status)
