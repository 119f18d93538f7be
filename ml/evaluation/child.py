"""An evaluation in a process of its own: what torch or ONNX Runtime took of the memory goes back when it ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

REFUSED = 3
"""Exit status where these films and this version must not, or cannot, be put together: trying again changes nothing."""

_ROOT = Path(__file__).resolve().parents[2]


def start_evaluation(
    artifact_dir: Path, data: Path, split: Path | None, out: Path, cache_dir: Path, device: str, said: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """Start `python -m ml.evaluation`; it writes its figures to `out` and its words to the open file `said`.

    It leads a process group, and ends when its standard input does: no evaluation outlives the process that wants it.
    """
    where = ["--artifact", str(artifact_dir), "--data", str(data), "--cache", str(cache_dir), "--json", str(out)]
    listed = ["--split", str(split)] if split else []
    return subprocess.Popen(
        [sys.executable, "-m", "ml.evaluation", *where, *listed, "--device", device, "--while-stdin-is-open"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        start_new_session=True,
    )


def end_with_stdin() -> None:
    """Watch from a thread: when standard input ends, this process and all that it started are killed."""

    def watch() -> None:
        # Not sys.stdin: its lock, held by this thread, would spoil the interpreter's own end.
        os.read(0, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-stdin", daemon=True).start()
