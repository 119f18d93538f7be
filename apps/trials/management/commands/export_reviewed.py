"""Export a tenant's reviewed studies, de-identified, as a folder to evaluate or train on."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.models import AuditEvent
from apps.audit.services import command_actor, record
from apps.core.errors import ChecxrayError
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_tenant
from apps.trials.reviewed_export import require_enough, reviewed_films, write_folder


class Command(BaseCommand):
    help = (
        "Write the films whose signed reports have readers' verdicts into a new folder, de-identified, in the layout "
        "that evaluate_model and train_model read. The tenant's audit trail has a line of it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a folder that does not exist yet")
        parser.add_argument("--last", type=int, help="only so many of the latest studies")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["out"]
        last: int | None = options["last"]
        if last is not None and last < 1:
            raise CommandError("--last is a number of studies from 1 on.")
        if folder.exists():
            raise CommandError(f"{folder} exists already: give a new folder, so that two exports are never mixed.")
        try:
            tenant = find_tenant(options["tenant"])
            with tenant_tx(tenant.pk):
                films = reviewed_films(last)
                require_enough(films)
                record(
                    action=AuditEvent.Action.DATA_EXPORTED, by=command_actor(), amount=len(films),
                    operation="export_reviewed",
                )  # fmt: skip
            count = write_folder(films, folder)
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        except OSError as error:
            raise CommandError(f"{folder} cannot be written: {error.strerror}.") from error
        left = f", {len(films) - count} could not be read" if count < len(films) else ""
        self.stdout.write(f"{count} films in {folder}{left}. manage.py evaluate_model --data {folder}")
