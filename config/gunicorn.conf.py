"""The web server: threads, so that a slow upload holds one thread and not a process."""

import os
from pathlib import Path

from config.env import env_int, env_str, home

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


def on_starting(server: object) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        folder = home() / "run" / "metrics"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.db"):
            old.unlink()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def child_exit(server: object, worker: object) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[attr-defined, no-untyped-call]
