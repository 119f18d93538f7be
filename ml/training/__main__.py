"""`python -m ml.training --data DIR --out DIR [--nnodes 3] ...`: train, write an artifact; needs no Django."""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ml.training import progress
from ml.training.launch import TrainingFailed, launch
from ml.training.options import add_arguments, from_arguments


def show(path: Path, over: threading.Event, offset: int) -> None:
    """Draw the progress of a run as a bar until it is over."""
    bar: Any = None
    for event in progress.follow(path, over.is_set, offset):
        if event["event"] == "start":
            bar = bar or tqdm(total=event["epochs"] * event["steps_per_epoch"], unit="step", desc="Training")
            bar.n = event["resumed_epoch"] * event["steps_per_epoch"]
            tqdm.write(_opening(event), file=sys.stderr)
        elif event["event"] == "step" and bar is not None:
            bar.n = (event["epoch"] - 1) * event["steps"] + event["step"]
            bar.set_postfix(loss=f"{event['loss']:.4f}", images_per_s=f"{event['images_per_s']:.0f}", refresh=True)
        elif event["event"] == "epoch":
            score = event["validation_auroc"]
            auroc = "" if score is None else f", validation mean AUROC {score:.4f}"
            tqdm.write(f"Epoch {event['epoch']}: loss {event['loss']:.4f}{auroc}", file=sys.stderr)
    if bar is not None:
        bar.close()


def _opening(event: dict[str, Any]) -> str:
    text = f"{event['world_size']} ranks on {event['nodes']} nodes, {event['backend']}, {event['device']}."
    if event["resumed_epoch"]:
        text += f" Resumed after epoch {event['resumed_epoch']}."
    if event["forecast"]:
        text += f" Your network will cap you at {100 * event['forecast']['efficiency']:.0f} %."
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 only if the training is complete, on the chief's node with its artifact."""
    parser = argparse.ArgumentParser(prog="python -m ml.training", description="Train a chest film classifier.")
    add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="output folder: checkpoints/, cache/, artifact/")
    given = parser.parse_args(arguments)
    over = threading.Event()
    try:
        config, nodes = from_arguments(given, given.out)
        path = config.out / progress.FILE
        offset = path.stat().st_size if path.is_file() else 0
        viewer = threading.Thread(target=show, args=(path, over, offset), daemon=True)
        viewer.start()
        try:
            artifact = launch(config, nodes)
        finally:
            over.set()
            viewer.join(timeout=5)
    except (TrainingFailed, ValueError) as error:
        sys.stderr.write(f"Training stopped: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Training stopped by Ctrl-C; the same command resumes it.\n")
        return 130
    sys.stdout.write(f"{artifact}\n" if artifact else "Training is complete on this node.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
