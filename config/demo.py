"""``python -m config.demo`` (``make demo``): run all processes of Checxray on this machine, in the foreground."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dj_database_url
import django
from django.core.management import CommandError, call_command

from apps.tenants.roles import ROLES
from config.embedded import keep_running, paths, running_services
from config.embedded.postgres import EmbeddedServiceError
from config.env import EnvironmentVariableError, env_bool, env_int, env_str, home
from config.preconditions import missing_precondition
from config.processes import ENVIRONMENT, NAMES, command
from config.supervisor import ProcessKeepsDyingError, Service, Supervisor

_READY_SECONDS = 600
_EMBEDDED = {"PostgreSQL": "DATABASE_URL", "Valkey": "REDIS_URL"}
# Requests of the supervisor to its own web server must not use a proxy of the environment.
_OPENER_WITHOUT_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _NotReadyError(Exception):
    """The services did not become ready in time; the message says where to look."""


def show(text: str) -> None:
    print(text, flush=True)


def _fail(text: str) -> int:
    print(f"\nChecxray could not start: {text}", file=sys.stderr, flush=True)
    return 1


def require_free_port(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SystemExit(_fail(f"port {port} is in use. Choose another: make demo {name}={port + 1}")) from None


@contextmanager
def _exclusive_lock() -> Iterator[None]:
    with (paths.socket_folder() / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                _fail(f"it already runs with the home folder {home()}. Stop it, or set CHECXRAY_HOME to another.")
            ) from None
        yield


def _prepare() -> None:
    """The database, the static files and the demo's accounts, model and films."""
    if env_str("DATABASE_URL") and dj_database_url.parse(env_str("DATABASE_URL"))["USER"] not in ROLES:
        call_command("setup_database")
    if env_str("S3_BUCKET"):
        call_command("setup_storage")
    show("  database   applying migrations")
    call_command("migrate", verbosity=0)
    # An upgrade needs this. The command lists the instances that it cannot read, and the demo starts all the same.
    with contextlib.suppress(CommandError):
        call_command("fill_study_demographics")
    call_command("collectstatic", interactive=False, verbosity=0)
    show("  demo data  hospitals, people, the starter model and sample films")
    call_command("seed_demo", films=env_str("FILMS") or None, empty=env_bool("DEMO_EMPTY"))


def _empty_metrics_folder() -> Path:
    """Create an empty folder for the metrics of all processes. /metrics reads it, so it includes the workers."""
    folder = paths.socket_folder() / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def _services(port: int, dimse_port: int) -> list[Service]:
    environment = (
        ENVIRONMENT
        | os.environ
        | {
            "PORT": str(port),
            "BIND": f"127.0.0.1:{port}",
            "DIMSE_PORT": str(dimse_port),
            "PROMETHEUS_MULTIPROC_DIR": str(_empty_metrics_folder()),
        }
    )
    return [Service(name, command(name), environment) for name in NAMES]


def _readiness(base_url: str) -> dict[str, object] | None:
    try:
        with _OPENER_WITHOUT_PROXY.open(f"{base_url}/readyz", timeout=5) as answer:
            return json.load(answer) if answer.status == 200 else None
    except urllib.error.HTTPError:
        return None
    except OSError:
        return None


def _wait_until_ready(supervisor: Supervisor, base_url: str) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    shown = 0.0
    while not supervisor.stopping.is_set():
        if _readiness(base_url) is not None:
            return True
        supervisor.check()
        if time.monotonic() > deadline:
            raise _NotReadyError(
                f"the services did not become ready: see the logs in {home() / 'logs'} and {base_url}/readyz."
            )
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            show("  services   waiting for the web server and the worker's model")
        supervisor.stopping.wait(0.3)
    return False


def run() -> int:
    problem = missing_precondition()
    if problem:
        return _fail(problem)
    port, dimse_port = env_int("PORT", 8000), env_int("DIMSE_PORT", 11112)
    require_free_port("PORT", port)
    require_free_port("DIMSE_PORT", dimse_port)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.embedded")
    os.environ |= {"PORT": str(port), "DIMSE_PORT": str(dimse_port)}
    show(f"Checxray: home {home()}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with _exclusive_lock():
        embedded = [name for name, replaced in _EMBEDDED.items() if not env_str(replaced)]
        show(
            f"  services   starting {' and '.join(embedded)}"
            if embedded
            else "  services   using external PostgreSQL and Valkey"
        )
        with running_services():
            django.setup()
            _prepare()
            supervisor = Supervisor(_services(port, dimse_port), keep_running)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: supervisor.stopping.set())
            return _serve(supervisor, f"http://127.0.0.1:{port}")


def _interrupt(*_: object) -> None:
    """Signal handler during set-up: it raises, so every `finally` runs and stops the started servers."""
    raise KeyboardInterrupt


def _serve(supervisor: Supervisor, base_url: str) -> int:
    try:
        supervisor.start()
        if _wait_until_ready(supervisor, base_url):
            show(f"  accounts   {home() / 'demo.json'}")
            show(f"\nChecxray is ready: {base_url}")
            supervisor.watch()
    except (ProcessKeepsDyingError, _NotReadyError) as error:
        return _fail(str(error))
    finally:
        show("\nStopping")
        supervisor.stop()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(run())
    except KeyboardInterrupt:
        sys.exit(130)
    except (EmbeddedServiceError, EnvironmentVariableError, CommandError, PermissionError) as error:
        sys.exit(_fail(str(error)))
