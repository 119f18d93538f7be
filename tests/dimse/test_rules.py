"""C-STORE by DCMTK of objects about which the hospital has rules."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from apps.inference.models import InferenceJob, Priority
from apps.routing.models import Peer
from apps.routing.rule_models import RuleRefusals
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dimse.listening import ListenerProcess
from tests.dimse.test_listener import dcmtk
from tests.routing.test_rules import add


@pytest.mark.peer
def test_a_rule_decides_by_the_calling_ae_title(
    listener: ListenerProcess, north: Hospital, film: Callable[..., Dataset], tmp_path: Path
) -> None:
    program = dcmtk("storescu") or pytest.skip("DCMTK's storescu is absent: apt-get install dcmtk")
    with tenant_tx(north.tenant.id):
        Peer(ae_title="ER1", network="127.0.0.1/32").save()
    add(north, "Emergency", "read", Priority.STAT, CallingAETitle="ER?")
    add(north, "The others", "refuse")
    path = tmp_path / "film.dcm"
    film(1).save_as(path)
    address = ["127.0.0.1", str(listener.port), str(path)]
    command = [program, "-v", "-aec", "NORTH", "-aet"]
    refused = subprocess.run([*command, PEER, *address], capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode != 0
    assert "0x124" in refused.stdout + refused.stderr
    with tenant_tx(north.tenant.id):
        assert RuleRefusals.objects.get().amount == 1
        assert not InferenceJob.objects.exists()
    subprocess.run([*command, "ER1", *address], timeout=30, check=True, capture_output=True)
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.get().priority == Priority.STAT
