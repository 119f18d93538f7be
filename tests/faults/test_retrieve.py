"""Retrieval of an object of nearly 256 MiB by DICOMweb: the memory of the web process does not grow with it."""

import numpy as np
import pytest
import requests

from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.web import WebServer, running_web_server
from tests.ml import samples


@pytest.fixture
def web(servers: None, db: None) -> WebServer:
    with running_web_server() as server:
        yield server


@pytest.mark.long
def test_memory_does_not_grow_with_an_object(web: WebServer, north: Hospital) -> None:
    frames = np.random.default_rng(1).integers(0, 4096, (2896, 2896), dtype=np.uint16)
    large = samples.image_file(frames, samples.IMPLICIT_LE, frames=15)
    assert len(large) > 239 * 2**20
    assert web.stow(north.api_key, [large]).status_code == 200
    with tenant_tx(north.tenant.id):
        instance = Instance.objects.select_related("series__study").get()
    series = instance.series
    address = (
        f"{web.url}/dicom-web/studies/{series.study.study_instance_uid}/series/{series.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )
    before = web.resident_bytes()
    for accept, least in (
        ("application/dicom; transfer-syntax=*", len(large)),
        ("multipart/related; type=application/dicom; transfer-syntax=*", len(large)),
        ("multipart/related; type=application/dicom", len(large) - 2048),
    ):
        size = _read(address, north.bearer | {"Accept": accept})
        assert size >= least
    assert _read(f"{address}/frames/1,15", north.bearer | {"Accept": "*/*"}) > 2 * frames.nbytes
    assert web.resident_bytes() - before < 64 * 2**20


def _read(address: str, headers: dict[str, str]) -> int:
    with requests.get(address, headers=headers, stream=True, timeout=120) as answer:
        assert answer.status_code == 200, answer.text
        return sum(len(piece) for piece in answer.iter_content(2**20))
