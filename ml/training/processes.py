"""What every process of a training does for itself. Imports no torch: it acts before torch is there."""

import hashlib
import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.model.artifact import write_atomically

LOGS_VARIABLE = "CHECXRAY_TRAINING_LOGS"
PREFERRED_VARIABLE = "CHECXRAY_TRAINING_PREFERRED"
SINCE_VARIABLE = "CHECXRAY_TRAINING_SINCE"
_POLL_SECONDS = 0.5


def die_with_parent(parent: int) -> None:
    """End this process soon after `parent` has ended: an orphaned rank would go on writing beside its successor."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=look, daemon=True, name="parent").start()


def revision() -> str:
    """Hash of this package's sources: ranks with another one compute something else."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Record:
    """What a rank tells the launcher of its node. `final`: another try would end in the same way."""

    state: str
    chief: bool = False
    reason: str = ""
    final: bool = False


def write_record(folder: Path, local_rank: int, record: Record) -> None:
    """Replace the record of a local rank."""
    write_atomically(folder / f"rank-{local_rank}.json", json.dumps(asdict(record)).encode())


def read_records(folder: Path) -> list[Record]:
    """The records of this node's ranks."""
    return [Record(**json.loads(path.read_bytes())) for path in sorted(folder.glob("rank-*.json"))]


def clear_records(folder: Path) -> None:
    """Forget former generations."""
    for path in folder.glob("rank-*.json"):
        path.unlink(missing_ok=True)
