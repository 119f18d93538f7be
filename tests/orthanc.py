"""Orthanc as a peer, with its DICOMweb plugin where a test uses it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.dicomweb.web import free_port
from tests.dimse.peers import process

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_REMEDY = "Orthanc is absent: apt-get install orthanc orthanc-dicomweb"


@contextmanager
def orthanc(folder: Path, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Run Orthanc; yields the address of its REST API.

    Args:
        folder: where it keeps its objects, and where it finds files that the configuration names.
        configuration: DICOMweb is there where ``DicomWeb`` is configured, and DIMSE where there is a ``DicomPort``.
    """
    program = shutil.which("Orthanc") or pytest.skip(_REMEDY)
    with_plugin = "DicomWeb" in configuration
    if with_plugin and not _PLUGIN.exists():
        pytest.skip(_REMEDY)
    port = free_port()
    complete = {
        "HttpPort": port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": "DicomPort" in configuration,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(_PLUGIN)] if with_plugin else [],
    } | dict(configuration)
    (folder / "orthanc.json").write_text(json.dumps(complete))
    with process([program, str(folder / "orthanc.json")], port):
        yield f"http://127.0.0.1:{port}"
