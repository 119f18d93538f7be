"""Addresses, GPUs and cores of this machine, found without sending a packet. Imports no torch."""

import contextlib
import fcntl
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import sys

_SIOCGIFADDR = 0x8915
_OUTSIDE = "192.0.2.1"
"""TEST-NET-1 (RFC 5737): only the default route leads there."""


def resolved(host: str) -> str | None:
    """The address of a host, not one of the loopback interface where it has another; None if it has none."""
    try:
        found = [str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return None
    return next((address for address in found if not is_loopback(address)), found[0])


def is_loopback(address: str) -> bool:
    """Whether only processes of this machine reach the address, such as 127.0.1.1."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def is_local(address: str) -> bool:
    """Whether the address is one of this machine's."""
    with contextlib.suppress(OSError), socket.socket(_family(address)) as probe:
        probe.bind((address, 0))
        return True
    return False


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def accepts(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 2):
        return True
    return False


def own_address(peer: str) -> str | None:
    """The address that this machine uses towards the address `peer`; None without a route."""
    with contextlib.suppress(OSError), socket.socket(_family(peer), socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])
    return None


def interfaces() -> dict[str, str]:
    """The IPv4 address of each network interface, without the loopback interface (Linux; elsewhere none)."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex() if sys.platform.startswith("linux") else ():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found[name] = socket.inet_ntoa(answer[20:24])
    return {name: address for name, address in found.items() if not is_loopback(address)}


def outward_address() -> str | None:
    """The address that other machines most likely reach this one at; None where several are equally likely.

    GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME decide; then the default route; then there must be one address only.
    """
    known = interfaces()
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if os.environ.get(variable) in known:
            return known[os.environ[variable]]
    return own_address(_OUTSIDE) or (next(iter(known.values())) if len(known) == 1 else None)


def visible_gpus() -> list[str]:
    """GPUs that a process started from here may use, as CUDA_VISIBLE_DEVICES names them; found without torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for each in visible.split(",") if (name := each.strip()) not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if program:
            listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=True, timeout=20).stdout
            return [str(index) for index in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]
    return []


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
