"""``DATABASES``: one database, four roles (``apps.tenants.roles``), one alias for each."""

from typing import Any

import dj_database_url

from apps.core.deadlines import connection_factory
from apps.tenants import roles
from config.embedded import paths, postgres
from config.env import env_int, env_str

# A server that disappears is noticed after half a minute; libpq keywords in the URL can change that.
_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
ALIASES = {"default": roles.APP, "owner": roles.OWNER, "dispatch": roles.DISPATCH, "auth": roles.AUTH}


def embedded() -> dict[str, dict[str, Any]]:
    """The embedded server: each alias logs in as its own role."""
    known = paths.load_secrets()
    return {
        alias: _entry(
            role,
            {
                "NAME": postgres.DATABASE,
                "USER": role,
                "PASSWORD": getattr(known, role),
                "HOST": str(paths.socket_folder()),
            },
        )
        for alias, role in ALIASES.items()
    }


def external(url: str) -> dict[str, dict[str, Any]]:
    """An external server: each role has its own login, or the login of ``DATABASE_URL`` assumes it.

    ``DATABASE_URL`` may be ``chx_app``'s own login (recommended, with ``DATABASE_OWNER_URL``,
    ``DATABASE_DISPATCH_URL`` and ``DATABASE_AUTH_URL`` set as well) or one login that assumes the roles.
    """
    found = {}
    for alias, role in ALIASES.items():
        own_url = env_str(f"DATABASE_{alias.upper()}_URL")
        parsed = dj_database_url.parse(own_url or url)
        entry = _entry(role, dict(parsed))
        if parsed["USER"] != role:
            entry["OPTIONS"]["assume_role"] = role
        found[alias] = entry
    return found


def _entry(role: str, connection: dict[str, Any]) -> dict[str, Any]:
    # Migrations run as long as they take.
    answer_seconds = None if role == roles.OWNER else env_int("DATABASE_ANSWER_SECONDS", 65)
    deadlines = {"connection_factory": connection_factory(answer_seconds)}
    return connection | {
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": env_int("DATABASE_CONN_MAX_AGE", 600),
        "CONN_HEALTH_CHECKS": True,
        # Transaction poolers (PgBouncer) cannot keep a cursor open on the server.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": _KEEPALIVES | dict(connection.get("OPTIONS") or {}) | deadlines,
    }
