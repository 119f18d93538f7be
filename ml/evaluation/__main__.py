"""Command line of the evaluation: `python -m ml.evaluation --artifact DIR --data DIR [--split FILE] [--json OUT]`.

With several --artifact it compares versions on the same images.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml.bootstrap import ROUNDS
from ml.data import DatasetInvalid
from ml.errors import InputRejected
from ml.evaluation.child import REFUSED, end_with_stdin
from ml.evaluation.compare import compare_versions
from ml.evaluation.summary import report_text
from ml.evaluation.tables import table2
from ml.evaluation.version import evaluate_version
from ml.model.artifact import write_atomically
from ml.model.manifest import ArtifactInvalid
from ml.model.predictor import PredictorUnavailable


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "checxray"
    parser = argparse.ArgumentParser(prog="python -m ml.evaluation", description="Evaluate versions on one list.")
    parser.add_argument("--artifact", type=Path, required=True, action="append", help="folder; again to compare")
    parser.add_argument("--data", type=Path, required=True, help="folder in a layout of docs/data.md")
    parser.add_argument("--split", type=Path, help="list of image names; default: the folder's test_list.txt")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--cache", type=Path, default=default, help="decoded films and exported graphs")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the bootstrap")
    parser.add_argument("--while-stdin-is-open", action="store_true", help="stop when standard input ends")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate and print the tables.

    Returns:
        The exit status: 0 when the figures were made and, with --json, written; REFUSED where a retry cannot help.
    """
    given = _arguments(arguments)
    if given.while_stdin_is_open:
        end_with_stdin()
    try:
        figures: dict[str, Any]
        if len(given.artifact) > 1:
            figures = compare_versions(given.artifact, given.data, given.split, given.cache, given.device, given.rounds)
            text = table2(figures["rows"]).text() + "\n\nNot run:\n" + "\n".join(f"- {x}" for x in figures["not_run"])
        else:
            figures = evaluate_version(
                given.artifact[0], given.data, given.split, given.cache, given.device, given.rounds
            )
            text = report_text(figures)
        if given.json:
            write_atomically(given.json, json.dumps(figures, indent=1, allow_nan=False).encode() + b"\n")
    except (PredictorUnavailable, OSError) as error:
        sys.stderr.write(f"Evaluation stopped: {error}\n")
        return 1
    except (ArtifactInvalid, DatasetInvalid, InputRejected, FloatingPointError, ValueError) as error:
        sys.stderr.write(f"Evaluation stopped: {error}\n")
        return REFUSED
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
