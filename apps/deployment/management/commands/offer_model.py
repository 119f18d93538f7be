"""Offer a registered version to hospitals, which may then name it in /predict and Quick check."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.services import command_actor
from apps.core.errors import ChecxrayError
from apps.deployment.services import offer, withdraw_offer
from apps.registry.services import find_version
from apps.tenants.models import PLATFORM
from apps.tenants.services import find_tenant


class Command(BaseCommand):
    help = (
        "Let every tenant, or one, name name:number in /api/v1/predict and Quick check. The version reads nothing "
        "else. Versions that serve or have served a tenant can be named without an offer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="name:number")
        parser.add_argument("--tenant", metavar="SLUG", help="this tenant only")
        parser.add_argument("--withdraw", action="store_true", help="take the offer back")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            version = find_version(options["version"])
            tenant = find_tenant(options["tenant"]) if options["tenant"] else None
            if options["withdraw"]:
                withdraw_offer(version=version, tenant=tenant)
            else:
                offer(version=version, tenant=tenant, by=command_actor())
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        offered = "is offered no more" if options["withdraw"] else "may be named"
        self.stdout.write(f"{version} {offered} ({tenant or PLATFORM}).")
