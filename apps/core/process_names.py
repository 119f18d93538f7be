"""Names of processes: another process of the same machine can check by the name whether the process has ended."""

import functools
import hashlib
import socket
from pathlib import Path

import psutil

_MACHINE = 8


def name_of_this_process() -> str:
    """``host:pid:start:machine``: unique for ever, although process ids are used again."""
    process = psutil.Process()
    return f"{socket.gethostname()[:60]}:{process.pid}:{_start(process):x}:{_machine()}"


def has_ended(name: str) -> bool:
    """Whether the named process ran on this machine and has ended; False for a process of another machine."""
    try:
        _, pid, start, machine = name.rsplit(":", 3)
        if machine != _machine():
            return False
        process = psutil.Process(int(pid))
        return f"{_start(process):x}" != start or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.Error):
        return False


def _start(process: psutil.Process) -> int:
    return round(process.create_time() * 100)


@functools.cache
def _machine() -> str:
    """One boot of one machine, or of one container: only inside it does a process id mean the same process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        boot, namespace = f"{socket.gethostname()} {psutil.boot_time():.0f}", 0
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:_MACHINE]
