"""What tests of destinations do: as the administrator of a hospital, and as the jobs worker."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.audit.services import Actor
from apps.events.models import Delivery
from apps.results import destinations as services
from apps.results.destinations import DestinationSettings
from apps.routing.models import Destination
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.result_objects.conftest import member
from workers.sending import send_waiting

OBJECTS = ["secondary-capture", "structured-report", "encapsulated-pdf"]
BY = Actor(name="test")


def allow_loopback(*hospitals: Hospital) -> None:
    Tenant.objects.filter(pk__in=[each.tenant.pk for each in hospitals]).update(private_networks="127.0.0.0/8")


def add(hospital: Hospital, kind: str, url: str = "", contents: Any = OBJECTS, **more: Any) -> tuple[Destination, str]:
    membership = member(hospital, hospital.admin)
    more.setdefault("name", f"{kind} at {url[-40:]}")
    with tenant_tx(hospital.tenant.pk):
        chosen = DestinationSettings(url=url, contents=contents, **more)
        return services.add_destination(kind=kind, chosen=chosen, caller=membership, by=BY)


def act(hospital: Hospital, service: Callable[..., Any], **arguments: Any) -> Any:
    membership = member(hospital, hospital.admin)
    with tenant_tx(hospital.tenant.pk):
        return service(**arguments, caller=membership, by=BY)


def send() -> None:
    send_waiting(worker="test", stopping=threading.Event())


def deliveries(hospital: Hospital) -> list[Delivery]:
    with tenant_tx(hospital.tenant.pk):
        return list(Delivery.objects.select_related("event", "destination").order_by("id"))


def make_due(hospital: Hospital) -> None:
    with tenant_tx(hospital.tenant.pk):
        Delivery.objects.update(run_after=timezone.now() - timedelta(seconds=1))


def row_of(hospital: Hospital, destination: Destination) -> Destination:
    with tenant_tx(hospital.tenant.pk):
        return Destination.objects.get(pk=destination.pk)
