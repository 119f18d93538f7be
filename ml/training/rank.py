"""One rank: `python -m ml.training.rank out/run.json`, started by torchrun or, where there is only one, by itself."""

import os
import sys
from pathlib import Path

from ml.training.processes import LOGS_VARIABLE, Record, die_with_parent, write_record


def main(settings: Path) -> int:
    """Exit status 0 when the training ended or was stopped; the record says which."""
    die_with_parent(os.getppid())
    logs, local_rank = Path(os.environ[LOGS_VARIABLE]), int(os.environ.get("LOCAL_RANK", "0"))
    write_record(logs, local_rank, Record("running"))
    # Only now: torch takes seconds to import, and the launcher wants to know sooner that a rank lives.
    from ml.training.session import Session

    return Session(settings, logs, local_rank).run()


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a broken process group may hang in their destructors.
    os._exit(status)
