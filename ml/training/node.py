"""A node that another machine starts over ssh: `python -m ml.training.node`, with the settings on its input."""

import json
import os
import sys
import threading
from typing import Any

from ml.training.config import TrainingConfig
from ml.training.launch import TrainingFailed, launch
from ml.training.nodes import Nodes


def _until_closed(stop: threading.Event) -> None:
    # Unbuffered: a buffer's lock would be held by this thread when the interpreter ends.
    while os.read(0, 4096):
        pass
    stop.set()


def main() -> int:
    """The first line is the settings; the end of the input, which the end of the connection brings too, ends it."""
    try:
        with open(0, "rb", buffering=0, closefd=False) as stream:
            value: Any = json.loads(stream.readline())
        config, nodes = TrainingConfig.from_json(value["config"]), Nodes.from_json(value["nodes"])
        stop = threading.Event()
        threading.Thread(target=_until_closed, args=(stop,), daemon=True, name="input").start()
        launch(config, nodes, stop=stop)
    except (TrainingFailed, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"Training stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
