"""Take away a decoding process's access to files, network, programs and other processes.

Linux only: Landlock (kernel 5.13; TCP from 6.7, signals from 6.12) and a seccomp filter on x86-64 and AArch64. Where
the kernel lacks one, the caller gets a sentence that says so.
"""

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from dataclasses import dataclass
from typing import Final

_PR_SET_DUMPABLE, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 21, 22, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
# By version of Landlock's interface: access rights to files that it knows (bits), linux/landlock.h.
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_FILE_RIGHTS: Final = 16
_CAPABILITY_VERSION_3: Final = 0x20080522

LANDLOCK_MISSING: Final = (
    "The kernel offers no Landlock (Linux 5.13 or newer, with landlock among its security modules): a decoding process "
    "that a file took over could read what its user may read."
)
SECCOMP_MISSING: Final = (
    "No system call filter (seccomp, on Linux for x86-64 or AArch64): a decoding process that a file took over could "
    "open sockets and start programs."
)


@dataclass(frozen=True)
class _Machine:
    """System call numbers of one architecture.

    `denied` calls always fail. `kill` and `tgkill` fail unless they name this process, `limit` (prlimit64) unless its
    first argument is zero.
    """

    audit: int
    denied: tuple[int, ...]
    kill: int
    tgkill: int
    limit: int


# socket, connect, accept, bind, listen, socketpair, accept4 · execve, execveat, fork, vfork, clone, clone3 · ptrace,
# process_vm_readv, process_vm_writev, pidfd_open, pidfd_getfd, pidfd_send_signal, rt_sigqueueinfo, rt_tgsigqueueinfo,
# tkill, process_madvise · setpriority, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr, ioprio_set
# · io_uring_setup, bpf, perf_event_open, userfaultfd, keyctl, add_key, request_key · unshare, setns, mount, chroot,
# pivot_root, open_by_handle_at
_MACHINES: Final = {
    "x86_64": _Machine(
        0xC000003E,
        (
            *(41, 42, 43, 49, 50, 53, 288, 59, 322, 57, 58, 56, 435, 101, 310, 311, 434, 438, 424, 129, 297, 200, 440),
            *(141, 203, 144, 142, 314, 251, 425, 321, 298, 323, 250, 248, 249, 272, 308, 165, 161, 155, 304),
        ),
        kill=62,
        tgkill=234,
        limit=302,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        (
            *(198, 203, 202, 200, 201, 199, 242, 221, 281, 220, 435, 117, 270, 271, 434, 438, 424, 138, 240, 130, 440),
            *(140, 122, 119, 118, 274, 30, 425, 280, 241, 282, 219, 217, 218, 97, 268, 40, 51, 41, 265),
        ),
        kill=129,
        tgkill=131,
        limit=261,
    ),
}


def confine() -> list[str]:
    """Give up all access except to open files and own memory, for this thread and its future children, for good.

    Call it in a process with one thread, after everything is imported.

    Returns:
        A sentence for each protection that this machine lacks.
    """
    os.environ.clear()
    if not sys.platform.startswith("linux"):
        return [LANDLOCK_MISSING, SECCOMP_MISSING]
    leave_network()
    libc = _libc()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    missing = []
    if not _restrict_files(libc):
        missing.append(LANDLOCK_MISSING)
    # Drop the capabilities of root, which would bypass much of this.
    libc.capset(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
    if not _filter_system_calls(libc):
        missing.append(SECCOMP_MISSING)
    return missing


def missing_protections() -> list[str]:
    """The sentences that `confine` would return on this machine; changes nothing."""
    if not sys.platform.startswith("linux"):
        return [LANDLOCK_MISSING, SECCOMP_MISSING]
    libc = _libc()
    missing = [] if _landlock_version(libc) > 0 else [LANDLOCK_MISSING]
    has_filter = platform.machine() in _MACHINES and libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0
    return missing if has_filter else [*missing, SECCOMP_MISSING]


def leave_network() -> None:
    """Forbid new privileges and, where the kernel allows it, enter a network namespace without interfaces."""
    if not sys.platform.startswith("linux"):
        return
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _landlock_version(libc: ctypes.CDLL) -> int:
    return int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def _restrict_files(libc: ctypes.CDLL) -> bool:
    """Apply a Landlock rule set that grants no right: no path can be opened, made, removed or run any more."""
    version = _landlock_version(libc)
    if version < 1:
        return False
    files = (1 << _FILE_RIGHTS.get(version, _LATEST_FILE_RIGHTS)) - 1
    attributes = struct.pack("<Q", files)
    if version >= 4:
        # TCP bind and connect.
        attributes += struct.pack("<Q", 3)
    if version >= 6:
        # Abstract UNIX sockets and signals of processes outside.
        attributes += struct.pack("<Q", 3)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


# Classic BPF (linux/filter.h): load a word of the call, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_ALLOW, _KILL_PROCESS, _DENY = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_X32_CALLS = 0x40000000


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = b"".join(_program(machine, os.getpid()))
    # The buffer must live until the call returns; the kernel copies it.
    buffer = ctypes.create_string_buffer(program, len(program))
    description = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, description, 0, 0) == 0)


def _program(machine: _Machine, pid: int) -> list[bytes]:
    load_number = _step(_LOAD, _NUMBER_AT)
    deny = _step(_RETURN, _DENY)
    program = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, machine.audit, 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        load_number,
        _step(_AT_LEAST, _X32_CALLS, 0, 1),
        deny,
    ]
    for number in machine.denied:
        program += [_step(_EQUAL, number, 0, 1), deny]
    program += _only_for(machine.limit, 0, None)
    # A process that sends SIGKILL to itself would look like one that another process ended.
    program += _only_for(machine.kill, pid, 1)
    program += _only_for(machine.tgkill, pid, 2)
    return [*program, _step(_RETURN, _ALLOW)]


def _only_for(number: int, first: int, signal_at: int | None) -> list[bytes]:
    """Deny the call unless its first argument is `first`, and, where it has a signal, that is not SIGKILL."""
    inner = [_step(_LOAD, _ARGUMENTS_AT), _step(_EQUAL, first, 1, 0), _step(_RETURN, _DENY)]
    if signal_at is not None:
        inner += [_step(_LOAD, _ARGUMENTS_AT + 8 * signal_at), _step(_EQUAL, signal.SIGKILL, 0, 1)]
        inner += [_step(_RETURN, _DENY)]
    inner += [_step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, 0, len(inner)), *inner]


def _step(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, when_true, when_false, value)
