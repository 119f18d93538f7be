"""Show each tenant's DICOM peers, and the applications that sent or tried to send without being listed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.audit.models import AuditEvent
from apps.core.errors import ChecxrayError
from apps.routing.selectors import peers, refusals
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import find_tenant

_SENDER = "dimse:"


class Command(BaseCommand):
    help = (
        "Show the DICOM peers of every tenant, or of one; and the AE titles that sent before peers were listed, "
        "or were refused since, which you may want to list with add_dicom_peer."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", nargs="?", help="the tenant's short name (slug); all of them by default")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenants = [find_tenant(options["tenant"])] if options["tenant"] else Tenant.objects.order_by("slug")
        except ChecxrayError as error:
            raise CommandError(error.detail) from error
        for tenant in tenants:
            with tenant_tx(tenant.id):
                self._show(tenant)

    def _show(self, tenant: Tenant) -> None:
        self.stdout.write(f"{tenant.slug} ({tenant.ae_title})")
        listed = peers()
        for peer in listed:
            seen = f"last seen {peer.last_seen:%Y-%m-%d %H:%M}" if peer.last_seen else "not seen yet"
            self.stdout.write(f"  {peer.ae_title:<16}  {peer.address:<20}  {seen}")
        if not listed:
            self.stdout.write("  no peer is listed: nothing can send by DIMSE")
        titles = {peer.ae_title for peer in listed}
        stored = AuditEvent.objects.filter(action=AuditEvent.Action.INSTANCE_STORED, actor__startswith=_SENDER)
        for actor in sorted(set(stored.values_list("actor", flat=True).distinct())):
            if actor.removeprefix(_SENDER) not in titles:
                self.stdout.write(f"  {actor.removeprefix(_SENDER):<16}  sent images before, and is not listed")
        for refusal in refusals():
            why = f"refused {refusal.amount} times, last {refusal.last:%Y-%m-%d %H:%M}"
            self.stdout.write(f"  {refusal.ae_title:<16}  {refusal.address:<20}  {why}: {refusal.get_reason_display()}")
