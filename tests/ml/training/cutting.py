"""A death within the write of a checkpoint: the kernel ends the process between two bytes of it, or all stop there.

Installed as `sitecustomize` of the processes of a training, which run the product's own code unchanged.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "CUT_WITHIN_CHECKPOINTS"
NTH = 3
KEPT_BYTES = 20_000

_writes = 0


def cut_off(aside: str) -> None:
    """Once in a run: this process dies of SIGXFSZ when the file has KEPT_BYTES."""
    try:
        (Path(os.environ[FOLDER_VARIABLE]) / "cut").touch(exist_ok=False)
    except FileExistsError:
        return
    (Path(os.environ[FOLDER_VARIABLE]) / "cut").write_text(aside)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KEPT_BYTES, KEPT_BYTES))


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): counts the checkpoints that are opened for writing."""
    global _writes
    if event == "open" and isinstance(arguments[0], str) and Path(arguments[0]).name.startswith(".films-"):
        _writes += 1
        if _writes == NTH:
            cut_off(arguments[0])


if os.environ.get(FOLDER_VARIABLE):
    sys.addaudithook(watch)
