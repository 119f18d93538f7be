"""Studies that the worker's own step stores, a mail server, and rules."""

import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import numpy as np
import pytest

from apps.audit.services import user_actor
from apps.critical.models import CriticalNotice, CriticalRule
from apps.critical.rules import RuleValues, add_rule
from apps.inference.services import claim_jobs
from apps.registry.models import ModelVersion
from apps.studies.models import Instance, Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from tests.conftest import Hospital
from tests.results import version
from workers.pipeline import ClaimedReading, write_results

__all__ = ["version"]


def member(hospital: Hospital, user: Any) -> Membership:
    with tenant_tx(hospital.tenant.pk):
        return Membership.objects.select_related("user").get(user=user)


@pytest.fixture
def rule() -> Callable[..., CriticalRule]:
    """Make a finding critical at a hospital, for these people first and then for those."""

    def made(
        hospital: Hospital, label: str, first: Sequence[Any] = (), then: Sequence[Any] = (), **values: Any
    ) -> CriticalRule:
        admin = member(hospital, hospital.admin)
        people = {
            "people": [member(hospital, user).pk for user in first],
            "escalate_to": [member(hospital, user).pk for user in then],
        }
        with tenant_tx(hospital.tenant.pk):
            return add_rule(
                label=label,
                values=RuleValues(**people, **values),
                membership=admin,
                by=user_actor(hospital.admin.pk),
            )

    return made


@pytest.fixture
def read_waiting(version: ModelVersion) -> Callable[..., None]:
    """Store the results of all waiting jobs of a hospital by the worker's own step; the network alone is left out."""

    def read(hospital: Hospital, **probabilities: float) -> None:
        readings = []
        for claim in claim_jobs(limit=1000, version=version, worker="test"):
            with tenant_tx(hospital.tenant.pk):
                instances = list(Instance.objects.filter(series__study_id=claim.study_id).order_by("received"))
            readings.append(
                ClaimedReading(
                    claim=claim,
                    instances=instances,
                    instance=instances[-1],
                    rows=instances[-1].shape[0],
                    columns=instances[-1].shape[1],
                    probabilities={label: probabilities.get(label, 0.02) for label in LABELS},
                    cams=np.zeros((len(LABELS), 7, 7), np.float16),
                )
            )
        write_results(readings, version)

    return read


@pytest.fixture
def flag(store_film: Callable[..., Any], read_waiting: Callable[..., None]) -> Callable[..., Study]:
    """Store and read a film with these findings."""

    def flagged(hospital: Hospital, film: dict[str, Any] | None = None, **probabilities: float) -> Study:
        study = store_film(hospital, **(film or {})).study
        read_waiting(hospital, **probabilities)
        return study

    return flagged


def notices(hospital: Hospital) -> list[CriticalNotice]:
    with tenant_tx(hospital.tenant.pk):
        return list(CriticalNotice.objects.order_by("created", "pk"))


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as takes one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self.wfile.write(b"354 go\r\n")
                self.server.taken.append(b"".join(iter(self.rfile.readline, b".\r\n")))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
            if command == b"QUIT":
                return


class Mailbox:
    """What a real mail server took."""

    def __init__(self, taken: list[bytes]) -> None:
        self._taken = taken

    @property
    def messages(self) -> list[EmailMessage]:
        return [message_from_bytes(each, policy=policy.default) for each in self._taken]  # type: ignore[misc]

    @property
    def recipients(self) -> list[str]:
        return sorted(str(each["To"]) for each in self.messages)


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", server.server_address[1], False
        settings.PUBLIC_URL = "https://checxray.example"
        yield Mailbox(server.taken)  # type: ignore[attr-defined]
        server.shutdown()
