"""``manage.py fill_study_demographics``: after an upgrade, fill each study's demographics from its own images."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from apps.audit.services import command_actor
from apps.core.errors import UnavailableError
from apps.ingest.filling import UnreadableInstance, count_unfilled, fill_demographics
from apps.tenants.models import Tenant

_EVERY_SECONDS = 5.0


class Command(BaseCommand):
    help = (
        "Fill name, birth date and sex of studies that are older than these columns, from the stored objects. "
        "You can stop it and run it again at any time; filled studies are skipped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant's; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        by = command_actor()
        studies = unreadable = 0
        try:
            for tenant in self._tenants(options["tenant"]):
                progress = _Progress(self, tenant, count_unfilled(tenant))
                done = fill_demographics(tenant=tenant, by=by, report=self._report, progress=progress.show)
                studies, unreadable = studies + done.studies, unreadable + done.unreadable
        except (DatabaseError, UnavailableError) as error:
            raise CommandError(
                "The database or the object storage did not answer. Filled studies stay filled; run it again."
            ) from error
        self.stdout.write(f"{studies} studies checked.")
        if unreadable:
            raise CommandError(
                f"{unreadable} images could not be read, see above. Let their senders send them again, then run this "
                "command again."
            )

    def _report(self, found: UnreadableInstance) -> None:
        self.stderr.write(f"study {found.study_id}  image {found.instance_id}  {found.reason}")

    @staticmethod
    def _tenants(slug: str | None) -> list[Tenant]:
        tenants = list(Tenant.objects.order_by("slug"))
        chosen = [tenant for tenant in tenants if slug in (None, tenant.slug)]
        if slug is not None and not chosen:
            raise CommandError(
                f"There is no tenant {slug}. There are: {', '.join(each.slug for each in tenants) or 'none'}."
            )
        return chosen


class _Progress:
    def __init__(self, command: BaseCommand, tenant: Tenant, total: int) -> None:
        self._command, self._tenant, self._total = command, tenant, total
        self._shown = time.monotonic()

    def show(self, done: int) -> None:
        if done == self._total or time.monotonic() - self._shown >= _EVERY_SECONDS:
            self._shown = time.monotonic()
            self._command.stdout.write(f"{self._tenant.slug}  {done} of {self._total} studies")
