"""The paths of the embedded services' files, and their random passwords."""

import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from config.env import home

# A Unix socket's path is limited to 104 (macOS) or 108 bytes (Linux), its file name included.
_LONGEST_SOCKET_FOLDER = 80


@dataclass(frozen=True)
class Secrets:
    secret_key: str
    postgres: str
    chx_owner: str
    chx_app: str
    chx_dispatch: str
    chx_auth: str
    valkey: str


def prepared_home() -> Path:
    """``CHECXRAY_HOME``, created and closed to other users."""
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def load_secrets() -> Secrets:
    """The passwords of this home; made at random on first use (0600, created atomically)."""
    path = prepared_home() / "secrets.json"
    if not path.exists():
        made = Secrets(**{field.name: secrets.token_urlsafe(32) for field in fields(Secrets)})
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(0o600)
        draft.write_text(json.dumps(asdict(made), indent=1))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first: its passwords are used
        finally:
            draft.unlink()
    return Secrets(**json.loads(path.read_text()))


def socket_folder() -> Path:
    """The 0700 folder of the Unix sockets; a short one under the temporary folder where the home's path is too long."""
    folder = prepared_home() / "run"
    if len(str(folder)) > _LONGEST_SOCKET_FOLDER:
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"checxray-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.stat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
        raise PermissionError(f"{folder} must belong to this user alone: remove it, or set CHECXRAY_HOME elsewhere.")
    return folder


def valkey_socket() -> Path:
    return socket_folder() / "valkey.sock"


def postgres_data() -> Path:
    return prepared_home() / "postgres"


def log_file(name: str) -> Path:
    folder = prepared_home() / "logs"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.log"
