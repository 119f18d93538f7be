"""Loaded before Django's settings (``-p tests.plugin``): gives each test process a home and servers of its own."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

for replaced in ("DATABASE_URL", "REDIS_URL", "S3_BUCKET", "S3_ENDPOINT_URL", "SECRET_KEY", "ALLOWED_HOSTS"):
    os.environ.pop(replaced, None)
HOME = Path(tempfile.mkdtemp(prefix="chx-"))
# The starter's exported graphs, kept from one run to the next: an export takes half a minute of a core. Their names
# hold a hash of the weights and the exporter's revision, and a graph must answer the golden image before it serves.
KEPT_GRAPHS = Path(tempfile.gettempdir()) / f"chx-graphs-{os.getuid()}"
GRAPHS = HOME / "models" / "compiled"
os.environ["CHECXRAY_HOME"] = str(HOME)
os.environ["CHECXRAY_UNSAFE_FAST_DATABASE"] = "1"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.test"


if KEPT_GRAPHS.is_dir():
    shutil.copytree(KEPT_GRAPHS, GRAPHS)


def keep_graphs() -> None:
    """Keep the starter's graphs for the next run, each whole or not at all."""
    from ml.model.artifact import load_artifact
    from ml.model.predictor import graph_key

    key = graph_key(load_artifact(Path(__file__).parent.parent / "models" / "starter").manifest)
    KEPT_GRAPHS.mkdir(mode=0o700, exist_ok=True)
    for graph in GRAPHS.glob(f"{key}*.onnx"):
        if not (KEPT_GRAPHS / graph.name).exists():
            aside = KEPT_GRAPHS / f".{graph.name}.{os.getpid()}"
            shutil.copyfile(graph, aside)
            aside.replace(KEPT_GRAPHS / graph.name)


def pytest_unconfigure(config: pytest.Config) -> None:
    keep_graphs()
    shutil.rmtree(HOME, ignore_errors=True)
