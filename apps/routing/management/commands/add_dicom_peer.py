"""List a DICOM peer for a tenant."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.services import Actor
from apps.core.errors import ChecxrayError
from apps.routing.services import PeerFields, add_peer_as_operator
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_tenant


class Command(BaseCommand):
    help = "Let a DICOM application use a tenant's DIMSE services; its administrators do the same in the portal."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's short name (slug)")
        parser.add_argument("ae_title", help="the calling AE title")
        parser.add_argument("address", help="an address or a network, such as 10.1.2.3 or 10.1.2.0/24")
        parser.add_argument("--certificate", default="", help="SHA-256 fingerprint or subject of its certificate")
        parser.add_argument("--send-only", action="store_true", help="it may neither find nor retrieve")
        parser.add_argument("--host", default="", help="where it takes associations, for C-MOVE and deliveries")
        parser.add_argument("--port", type=int, help="the port of --host")
        parser.add_argument("--tls", action="store_true", help="--host expects TLS")
        parser.add_argument("--description", default="", help="what it is, for the tenant's administrators")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant = find_tenant(options["tenant"])
            with tenant_tx(tenant.id):
                fields = PeerFields(
                    ae_title=options["ae_title"],
                    network=options["address"],
                    certificate=options["certificate"],
                    description=options["description"],
                    is_send_only=options["send_only"],
                    host=options["host"],
                    port=options["port"],
                    tls=options["tls"],
                )
                peer = add_peer_as_operator(fields=fields, by=Actor(name="manage.py"))
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{tenant} ({tenant.ae_title}) takes images of {peer} from now on.")
