"""The web server: threads, so that a slow upload holds one thread and not a process."""

import gc
import os
from pathlib import Path
from typing import Any

from config.env import env_int, env_str, home
from config.unread import read_away

bind = env_str("BIND", "127.0.0.1:8000")
workers = env_int("WEB_WORKERS", 2)
worker_class = "gthread"
threads = env_int("WEB_THREADS", 8)
timeout = 120
graceful_timeout = 30
keepalive = 30
max_requests = 20_000
max_requests_jitter = 2_000
# Heartbeat files belong in memory: on a busy disk a write of theirs may stall a worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# Nobody steers the server by a socket; it would lie outside the home.
control_socket_disable = True
# An access log would hold StudyInstanceUIDs; /metrics counts requests instead.
accesslog = None
errorlog = "-"
loglevel = env_str("LOG_LEVEL", "warning").lower()


# Loaded once, before the fork: workers share its memory, and no first request waits for the imports.
preload_app = True

# Read when the application is imported.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    metrics = home() / "run" / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    for old in metrics.glob("*.db"):
        old.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)


def when_ready(server: object) -> None:
    # What is loaded stays: collections need not walk it, nor copy its pages after the fork.
    gc.collect()
    gc.freeze()


def child_exit(server: object, worker: object) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[attr-defined, no-untyped-call]


def post_request(worker: object, req: object, environ: dict[str, Any], resp: object) -> None:
    read_away(environ)
