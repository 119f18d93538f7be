"""Addresses of this machine as other nodes see them, found without any packet being sent."""

import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

DEFAULT_PORT = 29400
_SIOCGIFADDR = 0x8915


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """HOST:PORT -> (host, port). Raises ValueError."""
    host, _, port = endpoint.rpartition(":")
    if not host:
        host, port = endpoint, str(DEFAULT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--rdzv-endpoint is HOST:PORT, such as trainer-1:{DEFAULT_PORT}, not {endpoint!r}.")
    return host.strip("[]"), int(port)


def resolved(host: str) -> str | None:
    """The address of a host; None if it has none."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None


def is_local(address: str) -> bool:
    """Whether the address is one of this machine's."""
    return _can_bind(address, 0)


def is_free(address: str, port: int) -> bool:
    """Whether nothing here listens on that port."""
    return _can_bind(address, port)


def _can_bind(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str, port: int, timeout: float = 2.0) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout):
        return True
    return False


def own_address(peer: str) -> str | None:
    """The address that this machine uses towards `peer`; None without a route."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The network interface that has this IPv4 address (Linux); None if unknown."""
    if not sys.platform.startswith("linux") or ":" in address:
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                found = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


def gpu_count() -> int:
    """GPUs that a process started from here may use, found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([each for each in visible.split(",") if each.strip() not in ("", "-1")])
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=20)
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if not listed.returncode else 0
    return 0


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
