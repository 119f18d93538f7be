"""One rank, started by the elastic agent: `python -m ml.training.rank out/run.json out/logs/NODE ...`."""

import argparse
import os
import sys
import traceback
from pathlib import Path

from ml.training.processes import Outcome, exit_with_parent, write_outcome


def main() -> None:
    """Run the rank. Whatever it raises, the elastic agent starts all ranks again."""
    exit_with_parent(os.getppid())
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("logs", type=Path, help="folder of the outcome")
    parser.add_argument("--join-timeout", type=float, required=True)
    parser.add_argument("--launched", type=float, required=True, help="time of the launch, seconds since the epoch")
    parser.add_argument("--chief-node", action="store_true")
    given = parser.parse_args()
    local_rank = int(os.environ["LOCAL_RANK"])
    # Before torch is imported, which takes seconds: the launcher learns that the nodes have met.
    write_outcome(given.logs, local_rank, Outcome("running"))
    from torch.distributed.elastic.multiprocessing.errors import record

    from ml.training.session import Session

    session = Session(given.settings, given.logs, local_rank, given.chief_node, given.join_timeout, given.launched)
    record(session.run)()


if __name__ == "__main__":
    status = 0
    try:
        main()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of a broken process group may hang in their destructors.
    os._exit(status)
