"""Stop the AI for a tenant, or for one finding of it, and start it again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError
from apps.deployment.services import start_ai, stop_ai
from apps.deployment.stops import AI_STOPPED
from apps.inference.requeue import ended_jobs, requeue
from apps.tenants.services import find_tenant


class Command(BaseCommand):
    help = (
        "Stop the AI for a tenant from the next result on; with --label, one finding only. Studies are stored, listed "
        "and reported as before, and marked “AI stopped”. --start ends the stop."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", required=True)
        parser.add_argument("--label", metavar="FINDING", default="", help="this finding only, such as Mass")
        parser.add_argument("--reason", default="", help="why; kept in the ledger. Needed to stop")
        parser.add_argument("--start", action="store_true", help="start it again")
        parser.add_argument("--read", action="store_true", help="with --start: read what arrived meanwhile")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["read"] and (not options["start"] or options["label"]):
            raise CommandError("--read goes with --start and without --label.")
        by, label = command_actor(), options["label"]
        try:
            tenant = find_tenant(options["tenant"])
            change = start_ai if options["start"] else stop_ai
            entry = change(tenant=tenant, by=by, label=label, reason=options["reason"])
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{entry.get_act_display()}, {tenant}: {label or 'the whole AI'}.")
        if options["read"]:
            jobs = ended_jobs(tenant_id=tenant.pk, reason_code=AI_STOPPED)
            self.stdout.write(f"{len(requeue(jobs=jobs, by=by, operation='stop_ai'))} studies queued.")
