"""Typed readers of environment variables; each raises an error for a value that cannot be used."""

import ipaddress
import math
import os
from pathlib import Path


class EnvironmentVariableError(Exception):
    """An environment variable has a value that cannot be used."""


def env_str(name: str, default: str = "") -> str:
    """The variable's value, or the content of the file that ``NAME_FILE`` names (container secrets)."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise EnvironmentVariableError(f"{name}_FILE={path} cannot be read: {error.strerror}.") from error
    return os.environ.get(name, default)


def env_int(name: str, default: int) -> int:
    raw = env_str(name)
    if not raw:
        return default
    try:
        return int(raw)
    except ValueError:
        raise EnvironmentVariableError(f"{name}={raw!r} is not a whole number.") from None


def env_float(name: str, default: float) -> float:
    raw = env_str(name)
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EnvironmentVariableError(f"{name}={raw!r} is not a number.")
    return value


def env_bool(name: str, default: bool = False) -> bool:
    raw = env_str(name).lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise EnvironmentVariableError(f"{name}={raw!r} is neither 1 nor 0.")


def env_list(name: str, default: list[str]) -> list[str]:
    raw = env_str(name)
    return [part.strip() for part in raw.split(",") if part.strip()] if raw else default


def env_networks(name: str) -> list[str]:
    networks = env_list(name, [])
    for each in networks:
        try:
            ipaddress.ip_network(each)
        except ValueError as error:
            raise EnvironmentVariableError(f"{name}: {error}. Write networks such as 10.1.0.0/16.") from None
    return networks


PROJECT_ROOT = Path(__file__).resolve().parent.parent


def home() -> Path:
    """The folder of everything that Checxray writes on this machine (``CHECXRAY_HOME``)."""
    return Path(os.environ.get("CHECXRAY_HOME") or PROJECT_ROOT / "var").expanduser().resolve()
