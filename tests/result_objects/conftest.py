"""Studies with results, and the objects that the jobs worker makes of them."""

import io
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from apps.results.models import ResultObject, ResultPolicy
from apps.results.services import request_results
from apps.studies.storage import read_bytes
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reports.conftest import finish, read_study, version
from workers.creating_results import create_waiting

__all__ = ["finish", "read_study", "version"]

DCIODVFY = Path(sys.executable).parent / "dciodvfy"
ALL = {"secondary_capture": True, "structured_report": True, "encapsulated_pdf": True}


def want(hospital: Hospital, **kinds: bool) -> None:
    with tenant_tx(hospital.tenant.pk):
        ResultPolicy.objects.update_or_create(defaults=kinds or ALL)


def work() -> None:
    """Do what the jobs worker does when it is woken."""
    create_waiting(worker="test", stopping=threading.Event())


def rows(hospital: Hospital) -> list[ResultObject]:
    with tenant_tx(hospital.tenant.pk):
        return list(ResultObject.objects.order_by("id"))


def opened(row: ResultObject) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(read_bytes(row.object_key)))


def objects(hospital: Hospital, study: Any) -> dict[str, Any]:
    """Have the objects of a study created; the newest of each kind with its row, data set and bytes."""
    with tenant_tx(hospital.tenant.pk):
        request_results(study_ids=[study.pk])
    work()
    found = {}
    for row in rows(hospital):
        if row.study_id == study.pk:
            data = read_bytes(row.object_key)
            found[row.kind] = SimpleNamespace(row=row, data=data, dataset=pydicom.dcmread(io.BytesIO(data)))
    return found


def member(hospital: Hospital, user: Any) -> Membership:
    with tenant_tx(hospital.tenant.pk):
        return Membership.objects.get(user=user)


@pytest.fixture
def errors_of(tmp_path: Path) -> Callable[[bytes], list[str]]:
    """The errors that dciodvfy finds in an object; its warnings are left out."""

    def verified(data: bytes) -> list[str]:
        path = tmp_path / "object.dcm"
        path.write_bytes(data)
        done = subprocess.run([DCIODVFY, path], capture_output=True, text=True, timeout=60, check=False)
        output = done.stdout + done.stderr
        assert re.search(r"Comprehensive3DSR|SCImage|EncapsulatedPDF", output), output
        return [line for line in output.splitlines() if line.startswith("Error")]

    return verified
