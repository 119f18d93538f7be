"""What the processes of a training have in common: how a rank reports its end, and orphans. Imports no torch."""

import hashlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.model.artifact import write_atomically

_POLL_SECONDS = 0.5


class TrainingFailed(Exception):
    """A training that ended without an artifact; the message says why, and what to do."""

    @property
    def reason(self) -> str:
        """The message."""
        return str(self)


@dataclass(frozen=True)
class Outcome:
    """How a rank ended: "running" (not yet), "done", or "failed" for a reason that a restart would not change.

    With "done" and "failed" a rank exits with status 0, so that the elastic agent does not start it again.
    """

    state: str
    is_chief: bool = False
    reason: str = ""


def write_outcome(folder: Path, local_rank: int, outcome: Outcome) -> None:
    """Replace the outcome of a local rank."""
    write_atomically(folder / f"rank-{local_rank}.json", json.dumps(asdict(outcome)).encode())


def read_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes of this node's ranks."""
    return [Outcome(**json.loads(path.read_bytes())) for path in sorted(folder.glob("rank-*.json"))]


def clear_outcomes(folder: Path) -> None:
    """Remove those of a former start."""
    for path in folder.glob("rank-*.json"):
        path.unlink(missing_ok=True)


def exit_with_parent(parent: int) -> None:
    """End this process soon after `parent` has ended: an orphaned rank would go on writing beside its successor."""

    def check() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=check, daemon=True, name="parent").start()


def revision() -> str:
    """Hash of this package's sources: ranks with another one compute something else."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
