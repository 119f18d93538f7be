"""Checks the role of each new database connection, and gives it the limits of the role."""

import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections

from apps.tenants.roles import LIMITS

logger = logging.getLogger(__name__)
# The owner's alias only migrates, and FORCE holds for an owner as well.
_WATCHED = ("default", "dispatch", "auth")
_REMEDY = (
    "Tenants would see each other's patients, so nothing is served. Let DATABASE_URL log in as chx_app, or as a login "
    "that may assume it (run manage.py setup_database)."
)


def check_roles() -> None:
    """Check the role of every watched connection.

    Raises:
        ImproperlyConfigured: one of them is a superuser or bypasses row-level security.
        DatabaseError: the database does not answer.
    """
    for alias in _WATCHED:
        _require_safe_role(connections[alias])


def require_safe_start() -> None:
    """Check the roles before a process serves: with an unsafe role it must not start.

    A database that does not answer yet does not prevent the start: each connection is checked when it is opened.

    Raises:
        ImproperlyConfigured: as ``check_roles``.
    """
    try:
        check_roles()
    except (DatabaseError, InterfaceError) as error:
        logger.warning("The database did not answer at the start (%s).", type(error).__name__)
    finally:
        connections.close_all()


def refuse_unsafe_role(sender: Any, connection: Any, **_: Any) -> None:
    """Receiver of ``connection_created``: an unsafe connection is closed before it can be used."""
    if connection.alias in _WATCHED:
        try:
            _require_safe_role(connection)
        except ImproperlyConfigured:
            connection.close()
            raise


def limit_assumed_role(sender: Any, connection: Any, **_: Any) -> None:
    """Receiver of ``connection_created``: sets the limits of a role that a login assumes.

    PostgreSQL applies a role's own settings only where the role itself logs in.
    """
    role = connection.settings_dict["OPTIONS"].get("assume_role")
    if role is not None:
        limits = LIMITS[role]
        with connection.cursor() as cursor:
            sets = ", ".join(["set_config(%s, %s, false)"] * len(limits))
            cursor.execute(f"select {sets}", [each for limit in limits.items() for each in limit])


def _require_safe_role(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select rolname, rolsuper, rolbypassrls from pg_roles where rolname = current_user")
        role, is_superuser, bypasses = cursor.fetchone()
    if is_superuser or bypasses:
        kind = "a superuser" if is_superuser else "a role with BYPASSRLS"
        raise ImproperlyConfigured(f"The connection {connection.alias!r} works as {role}, {kind}. {_REMEDY}")
