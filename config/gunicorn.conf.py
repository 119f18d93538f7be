"""The web server: an event loop keeps the connections and threads run Django, so that no thread waits for a client."""

import gc
import os
import resource
from pathlib import Path

from config.env import env_int, env_str, home

bind = env_str("BIND", "127.0.0.1:8000")
workers = env_int("WEB_WORKERS", 2)
worker_class = "config.serving.worker.Worker"
# Where no proxy ends TLS; paths of PEM files.
certfile = env_str("WEB_TLS_CERTIFICATE") or None
keyfile = env_str("WEB_TLS_KEY") or None
worker_connections = env_int("WEB_CONNECTIONS", 4000)
# Its C parser takes other requests for valid than the one that the tests ask.
http_parser = "python"
asgi_lifespan = "off"
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


# A connection is a descriptor, and so is a large body.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 4 * worker_connections
resource.setrlimit(
    resource.RLIMIT_NOFILE, (max(_soft, _wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard)), _hard)
)

# A person waits for the answer, and a thread of few with them. The other processes have more time.
os.environ.setdefault("DATABASE_ANSWER_SECONDS", "15")

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
