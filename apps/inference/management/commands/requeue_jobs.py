"""``manage.py requeue_jobs``: queue studies again whose job failed or was rejected."""

import argparse
import datetime
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from apps.audit.services import command_actor
from apps.core.work_queue import JobState
from apps.inference.requeue import ended_jobs, requeue
from apps.tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Read studies again whose latest job failed (or was rejected, with --state rejected), for example after a "
        "fault was repaired. Studies that wait or were read since do not change, so the command can be repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant's; default: all")
        parser.add_argument(
            "--reason", metavar="CODE", help="only those that ended with this code, such as worker-lost"
        )
        parser.add_argument(
            "--since",
            metavar="TIME",
            type=_time,
            help="only those that ended then or later: 2026-11-28, or with T14:30",
        )
        parser.add_argument("--state", choices=[JobState.FAILED.value, JobState.REJECTED.value], default="failed")
        parser.add_argument("--dry-run", action="store_true", help="count them and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            slugs = {tenant.pk: tenant.slug for tenant in Tenant.objects.all()}
            jobs = ended_jobs(
                states=[options["state"]],
                tenant_id=self._tenant_id(slugs, options["tenant"]),
                reason_code=options["reason"],
                since=options["since"],
            )
            if not options["dry_run"]:
                by = command_actor()
                jobs = requeue(jobs=jobs, by=by, operation="requeue_jobs")
        except DatabaseError as error:
            raise CommandError(
                "The database did not answer. Studies that were queued before stay queued; run the command again."
            ) from error
        counts = Counter((job.tenant_id, job.reason_code) for job in jobs)
        for (tenant_id, code), amount in sorted(counts.items(), key=lambda entry: (slugs[entry[0][0]], entry[0][1])):
            self.stdout.write(f"{slugs[tenant_id]}  {code}  {amount}")
        what = "would be queued" if options["dry_run"] else "queued"
        self.stdout.write(f"{counts.total()} studies {what}.")

    @staticmethod
    def _tenant_id(slugs: dict[Any, str], wanted: str | None) -> Any:
        if wanted is None:
            return None
        found = next((tenant_id for tenant_id, slug in slugs.items() if slug == wanted), None)
        if found is None:
            raise CommandError(
                f"There is no tenant {wanted}. There are: {', '.join(sorted(slugs.values())) or 'none'}."
            )
        return found


def _time(text: str) -> datetime.datetime:
    try:
        moment = parse_datetime(text)
        day = parse_date(text) if moment is None else None
    except ValueError:
        moment = day = None
    if moment is None and day is not None:
        moment = datetime.datetime.combine(day, datetime.time())
    if moment is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-28 or 2026-11-28T14:30.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
