"""``manage.py index_result_objects``: after an upgrade, let peers find the result objects that were made before it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from apps.audit.services import command_actor
from apps.core.errors import UnavailableError
from apps.results.indexing import index_objects
from apps.results.models import ResultObject
from apps.tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Make instances of the result objects that were stored before these became instances of their study. "
        "You can stop it and run it again at any time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        by = command_actor()
        try:
            for tenant in Tenant.objects.order_by("slug"):
                done = index_objects(tenant=tenant, by=by, report=self._report)
                if done.indexed or done.left_out:
                    self.stdout.write(f"{tenant.slug}  {done.indexed} indexed, {done.left_out} left out")
        except (DatabaseError, UnavailableError) as error:
            raise CommandError(
                "The database or the object storage did not answer. What is indexed stays so; run it again."
            ) from error

    def _report(self, row: ResultObject, reason: str) -> None:
        self.stderr.write(f"study {row.study_id}  object {row.pk}  {reason}")
