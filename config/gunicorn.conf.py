"""gunicorn's settings: an event loop handles connections, and threads run Django, so no thread waits for a client."""

import gc
import os
import resource
from pathlib import Path

from apps.core.documents import warm_up
from config.env import env_int, env_str, home

bind = env_str("BIND", "127.0.0.1:8000")
workers = env_int("WEB_WORKERS", 2)
worker_class = "config.serving.worker.Worker"
# Where no proxy ends TLS; paths of PEM files.
certfile = env_str("WEB_TLS_CERTIFICATE") or None
keyfile = env_str("WEB_TLS_KEY") or None
worker_connections = env_int("WEB_CONNECTIONS", 4000)
# The C parser accepts other requests than the Python parser, which the tests use.
http_parser = "python"
asgi_lifespan = "off"
timeout = 120
graceful_timeout = 30
keepalive = 30
max_requests = 20_000
max_requests_jitter = 2_000
# Heartbeat files are kept in memory: a write to a busy disk could block a worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# The control socket is not used, and would be outside CHECXRAY_HOME.
control_socket_disable = True
# An access log would contain StudyInstanceUIDs; /metrics counts requests instead.
accesslog = None
errorlog = "-"
loglevel = env_str("LOG_LEVEL", "warning").lower()


# Each connection needs a file descriptor, and so does each large body.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = 4 * worker_connections
resource.setrlimit(
    resource.RLIMIT_NOFILE, (max(_soft, _wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard)), _hard)
)

# A user waits for the answer, and blocks one of few threads. Other processes may wait longer.
os.environ.setdefault("DATABASE_ANSWER_SECONDS", "15")

# The application is loaded before the fork: workers share its memory, and no request waits for imports.
preload_app = True

# The variable is read when the application is imported.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    metrics = home() / "run" / "metrics"
    metrics.mkdir(parents=True, exist_ok=True)
    for old in metrics.glob("*.db"):
        old.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)


def when_ready(server: object) -> None:
    warm_up()
    # Loaded modules are never freed: the garbage collector need not visit them, which would copy pages after the fork.
    gc.collect()
    gc.freeze()


def child_exit(server: object, worker: object) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[attr-defined, no-untyped-call]
