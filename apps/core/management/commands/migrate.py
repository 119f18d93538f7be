"""``migrate`` as the role that owns the tables: the application's own role cannot change them."""

import time
from typing import Any

import psycopg2.errors
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as DjangoMigrate
from django.db.utils import OperationalError


class Command(DjangoMigrate):
    """A migration that cannot lock its table soon gives up, because every request would wait behind it.

    How long it waits is the ``lock_timeout`` of the role (``apps.tenants.roles.LIMITS``). Each migration is a
    transaction, so one that gave up has changed nothing, and the next attempt begins with it.
    """

    attempts = 3
    pause_seconds = 5.0

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> None:
        self._migration = ""
        for attempt in range(1, self.attempts + 1):
            try:
                super().handle(*args, **options)
            except OperationalError as error:
                if not isinstance(error.__cause__, psycopg2.errors.LockNotAvailable):
                    raise
                if attempt == self.attempts:
                    raise CommandError(
                        f"{self._migration} could not lock its table in {self.attempts} attempts: another session "
                        "holds it, such as a long query, a backup or an open transaction. This migration has changed "
                        "nothing; those before it stay. End that session (pg_stat_activity names it) or wait, then "
                        "run the same command again."
                    ) from error
                self.stderr.write(f"{self._migration} waits for a lock on its table; trying again.")
                time.sleep(self.pause_seconds)
            else:
                return

    def migration_progress_callback(self, action: str, migration: Any = None, fake: bool = False) -> None:
        """Remember the migration that runs, for the message where it gets no lock."""
        if action in ("apply_start", "unapply_start"):
            self._migration = f"{migration.app_label}.{migration.name}"
        super().migration_progress_callback(action, migration, fake)
