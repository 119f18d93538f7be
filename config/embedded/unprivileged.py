"""``python -m config.embedded.unprivileged PROGRAM ARG...``: run a program that refuses to run as root.

PostgreSQL checks that its effective user is not root. Under root this launcher enters a Linux user namespace that maps
root to user 1000: the files still belong to root, no system user is created and no folder gets wider permissions. For
any other user it only executes the program.
"""

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_INNER_ID = 1000


def _enter_user_namespace() -> None:
    if sys.platform != "linux":
        raise SystemExit("The embedded PostgreSQL cannot run as root here: use an ordinary user or set DATABASE_URL.")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SystemExit(
            f"The embedded PostgreSQL cannot run as root here (user namespaces: {reason}): "
            "use an ordinary user or set DATABASE_URL."
        )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INNER_ID} 0 1")
    Path("/proc/self/gid_map").write_text(f"{_INNER_ID} 0 1")


if __name__ == "__main__":
    if os.geteuid() == 0:
        _enter_user_namespace()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606
