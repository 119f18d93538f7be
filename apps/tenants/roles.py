"""The database roles and their privileges. Tenant isolation depends on them.

* ``chx_owner`` owns the tables and runs migrations; no web or worker process logs in as it.
* ``chx_app`` is the web, API and worker role: it sees one tenant at a time, through row-level security.
* ``chx_dispatch`` sees the job queue's own columns across tenants, and no patient.
* ``chx_auth`` reads memberships and API keys before a tenant is in force.
* ``chx_erase`` alone may delete or change what is otherwise written once: signed reports, audit. Only erasure and
  retention work as it; without a password of its own it cannot log in, and no other process may assume it.

None of them is a superuser, bypasses row-level security or is a member of another.
"""

from collections.abc import Mapping

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, cursor

OWNER = "chx_owner"
APP = "chx_app"
DISPATCH = "chx_dispatch"
AUTH = "chx_auth"
ERASE = "chx_erase"
ROLES = (OWNER, APP, DISPATCH, AUTH, ERASE)
# What one login that works as the roles may assume.
_ASSUMED = (OWNER, APP, DISPATCH, AUTH)
# How long the server lets each role's sessions run a statement, wait for a lock, and hold a transaction open in which
# they do nothing. They are the roles' own settings, because a pooler passes on no setting of a session. Migrations may
# run long, but all other sessions wait behind a lock that a migration waits for: it gives up before they do.
LIMITS: Mapping[str, Mapping[str, str]] = {
    OWNER: {
        "statement_timeout": "0",
        "lock_timeout": "4s",
        "idle_in_transaction_session_timeout": "10min",
    },
    APP: {"statement_timeout": "60s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"},
    DISPATCH: {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"},
    AUTH: {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "60s"},
    ERASE: {"statement_timeout": "0", "lock_timeout": "30s", "idle_in_transaction_session_timeout": "10min"},
}


def ensure_roles(dsn: Mapping[str, str], database: str, passwords: Mapping[str, str] | None = None) -> None:
    """Create the roles, the database and its default privileges, or bring them up to date.

    Args:
        dsn: libpq keywords of a login that may create roles and databases.
        database: the database's name; created, owned by ``chx_owner``, where it is missing.
        passwords: one for each role; without it the roles cannot log in and the login of ``dsn`` assumes them.
    """
    admin = _connect(dsn)
    try:
        with admin.cursor() as cur:
            for role in ROLES:
                _ensure_role(cur, role, (passwords or {}).get(role))
                if role in _ASSUMED:
                    _let_login_assume(cur, role)
            cur.execute("select 1 from pg_database where datname = %s", [database])
            if cur.fetchone() is None:
                cur.execute(
                    sql.SQL("create database {} owner {}").format(sql.Identifier(database), sql.Identifier(OWNER))
                )
    finally:
        admin.close()
    inside = _connect({**dsn, "dbname": database})
    try:
        with inside.cursor() as cur:
            _ensure_privileges(cur, database)
    finally:
        inside.close()


def _connect(dsn: Mapping[str, str]) -> connection:
    opened = psycopg2.connect(**dsn)
    opened.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return opened


def _ensure_role(cur: cursor, role: str, password: str | None) -> None:
    name = sql.Identifier(role)
    cur.execute("select 1 from pg_roles where rolname = %s", [role])
    if cur.fetchone() is None:
        cur.execute(sql.SQL("create role {} nosuperuser nobypassrls nocreatedb nocreaterole noinherit").format(name))
    for setting, value in LIMITS[role].items():
        cur.execute(sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(value)))
    if role == OWNER:
        # From version 15 on the schema "public" belongs to the role "pg_database_owner", of which the owner of the
        # database is a member; it must inherit to make tables there. It is a member of nothing else.
        cur.execute(sql.SQL("alter role {} inherit").format(name))
    if password is not None:
        cur.execute(sql.SQL("alter role {} login password {}").format(name, sql.Literal(password)))


def _let_login_assume(cur: cursor, role: str) -> None:
    """Needed to set the owner's default privileges, and by a login that works as the roles; a superuser may anyway."""
    cur.execute(
        "select rolsuper, current_setting('server_version_num')::int from pg_roles where rolname = current_user"
    )
    row = cur.fetchone()
    if row is None or row[0]:
        return
    # From version 16 on, the creator of a role is its administrator, but may neither inherit nor assume it.
    options = " with inherit true, set true" if row[1] >= 160000 else ""
    cur.execute(sql.SQL("grant {} to current_user" + options).format(sql.Identifier(role)))


def _ensure_privileges(cur: cursor, database: str) -> None:
    names = {"db": sql.Identifier(database), "owner": sql.Identifier(OWNER), "app": sql.Identifier(APP)}
    everyone = sql.SQL(", ").join(sql.Identifier(role) for role in ROLES)
    as_owner = _login_needs_the_owner(cur, database)
    if as_owner:
        cur.execute(sql.SQL("set role {owner}").format(**names))
    for statement in (
        "revoke all on database {db} from public",
        "revoke create on schema public from public",
        "grant create, usage on schema public to {owner}",
        (
            "alter default privileges for role {owner} in schema public "
            "grant select, insert, update, delete on tables to {app}"
        ),
        "alter default privileges for role {owner} in schema public grant usage, select on sequences to {app}",
    ):
        cur.execute(sql.SQL(statement).format(**names))
    cur.execute(sql.SQL("grant connect on database {} to {}").format(names["db"], everyone))
    cur.execute(sql.SQL("grant usage on schema public to {}").format(everyone))
    if as_owner:
        cur.execute("reset role")


def _login_needs_the_owner(cur: cursor, database: str) -> bool:
    """Whether only ``chx_owner`` may grant here: the login is not a superuser, and the database is the owner's.

    A grant by another role ends with a warning and grants nothing.
    """
    cur.execute(
        "select not r.rolsuper and d.datdba = (select oid from pg_roles where rolname = %s) "
        "from pg_roles r, pg_database d where r.rolname = current_user and d.datname = %s",
        [OWNER, database],
    )
    row = cur.fetchone()
    return row is not None and bool(row[0])
