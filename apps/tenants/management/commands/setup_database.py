"""Prepare an external PostgreSQL server: the roles, the database, its default privileges."""

from pathlib import Path
from typing import Any

import psycopg2
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from psycopg2.extensions import parse_dsn

from apps.tenants.roles import APP, AUTH, DISPATCH, OWNER, ensure_roles

_ROLE_OF_ALIAS = {"default": APP, "owner": OWNER, "dispatch": DISPATCH, "auth": AUTH}
_VARIABLE_OF_ALIAS = {
    "default": "DATABASE_URL",
    "owner": "DATABASE_OWNER_URL",
    "dispatch": "DATABASE_DISPATCH_URL",
    "auth": "DATABASE_AUTH_URL",
}
_OLDEST_SERVER = 150000


class Command(BaseCommand):
    help = (
        "Create the database roles on a PostgreSQL server of your own, or bring them up to date; run it before "
        "migrate. You can repeat it. The embedded server does not need it."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--admin-url-file",
            type=Path,
            help="file with the postgresql:// URL of a login that may create roles; DATABASE_URL's login by default",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        entry = settings.DATABASES["default"]
        dsn = _from_url_file(options["admin_url_file"]) if options["admin_url_file"] else _from_settings(entry)
        passwords = _passwords()
        if dsn["user"] in _ROLE_OF_ALIAS.values():
            raise CommandError(
                f"{dsn['user']} may not create roles. Put the URL of an administrator's login into a file and give it "
                "as --admin-url-file."
            )
        try:
            _require_version(dsn)
            ensure_roles(dsn, entry["NAME"], passwords=passwords)
        except psycopg2.OperationalError as error:
            raise CommandError(f"The server does not let {dsn['user']} in: {str(error).strip()}") from error
        except psycopg2.errors.InsufficientPrivilege as error:
            raise CommandError(
                f"{dsn['user']} may not do this: {_first_line(error)}. Use an administrator's login."
            ) from error
        except psycopg2.Error as error:
            raise CommandError(f"The server refused: {_first_line(error)}.") from error
        how = "log in with their own passwords" if passwords else f"are assumed by {dsn['user']}"
        self.stdout.write(f"The database {entry['NAME']} is prepared; its four roles {how}. Next: manage.py migrate.")


def _from_settings(entry: dict[str, Any]) -> dict[str, str]:
    known = {
        "host": entry["HOST"],
        "port": str(entry["PORT"] or ""),
        "user": entry["USER"],
        "password": entry["PASSWORD"],
        "sslmode": entry["OPTIONS"].get("sslmode", ""),
        "sslrootcert": entry["OPTIONS"].get("sslrootcert", ""),
    }
    return {name: value for name, value in known.items() if value} | {"dbname": "postgres"}


def _from_url_file(path: Path) -> dict[str, str]:
    try:
        dsn = parse_dsn(path.read_text().strip())
    # libpq repeats what it cannot parse, and that may be a password.
    except (OSError, UnicodeDecodeError, psycopg2.ProgrammingError):
        dsn = {}
    if not dsn.get("host") or not dsn.get("user"):
        raise CommandError(f"{path} must be a file with postgresql://USER:PASSWORD@HOST:PORT/postgres.")
    return {"dbname": "postgres"} | dsn


def _passwords() -> dict[str, str] | None:
    """One for each role where each logs in as itself; None where one login assumes them all."""
    own = {
        role: settings.DATABASES[alias]["PASSWORD"]
        for alias, role in _ROLE_OF_ALIAS.items()
        if settings.DATABASES[alias]["USER"] == role
    }
    if not own:
        return None
    missing = [_VARIABLE_OF_ALIAS[alias] for alias, role in _ROLE_OF_ALIAS.items() if not own.get(role)]
    if missing:
        raise CommandError(
            f"Some roles have a login of their own and some have not. Set {', '.join(missing)} too, each with the "
            "role's own name and a password, or set only DATABASE_URL."
        )
    return own


def _require_version(dsn: dict[str, str]) -> None:
    connection = psycopg2.connect(**dsn, connect_timeout=10)
    try:
        if connection.server_version < _OLDEST_SERVER:
            raise CommandError("This server is older than PostgreSQL 15. Upgrade it first.")
    finally:
        connection.close()


def _first_line(error: psycopg2.Error) -> str:
    return str(error).strip().split("\n", 1)[0]
