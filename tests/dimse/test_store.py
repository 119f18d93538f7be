"""C-STORE statuses for errors that the instance does not cause."""

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from django.db import OperationalError
from pydicom.dataset import Dataset

from apps.core.errors import UnavailableError
from apps.dimse import store as module
from apps.dimse.store import Arrival, store_arrival
from apps.routing.models import Peer
from apps.routing.selectors import Caller
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital


@pytest.fixture
def arrival(film: Callable[..., Dataset], tmp_path: Path, north: Hospital) -> Arrival:
    path = tmp_path / "received.dcm"
    dataset = film(1)
    dataset.save_as(path)
    return Arrival(
        path=path,
        caller=Caller(called="NORTH", calling=PEER, address=ip_address("127.0.0.1")),
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
    )


def test_stored(arrival: Arrival) -> None:
    assert store_arrival(arrival) == 0x0000


def test_no_space(arrival: Arrival, settings: object) -> None:
    settings.SPOOL_FREE_FLOOR_BYTES = 2**62
    assert store_arrival(arrival) == 0xA700


def test_a_tenant_closed_meanwhile(arrival: Arrival, north: Hospital) -> None:
    north.tenant.is_active = False
    north.tenant.save()
    assert store_arrival(arrival) == 0x0124


def test_a_peer_that_was_taken_off_the_list_meanwhile(arrival: Arrival, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        Peer.objects.all().delete()
    assert store_arrival(arrival) == 0x0124


@pytest.mark.parametrize(
    ("error", "status"),
    [(OperationalError("gone"), 0xA700), (UnavailableError("gone"), 0xA700), (RuntimeError("SECRET^NAME"), 0x0110)],
)
def test_what_fails_within(
    error: Exception, status: int, arrival: Arrival, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module, "ingest_instance", fail)
    assert store_arrival(arrival) == status
    assert "SECRET" not in caplog.text
    assert type(error).__name__ in caplog.text
