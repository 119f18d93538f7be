"""Every command, script and configuration of the integrator's guide runs against the real servers."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from apps.routing.models import Peer
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, PROJECT_ROOT, Hospital
from tests.dicomweb.conftest import web, web_server
from tests.dicomweb.web import WebServer, free_port
from tests.dimse.listening import ListenerProcess
from tests.orthanc import orthanc

__all__ = ["web", "web_server"]

GUIDE = (PROJECT_ROOT / "docs" / "guides" / "integrator.md").read_text()
BLOCKS = re.findall(r"```(bash|python|javascript|json|lua)\n(.*?)```", GUIDE, re.DOTALL)


def blocks(language: str) -> list[str]:
    return [code for each, code in BLOCKS if each == language]


def run(folder: Path, *command: str, **variables: str) -> str:
    # The environment has programs of pynetdicom under the names of DCMTK's; only Node.js is taken from there.
    environment = str(Path(sys.executable).parent)
    others = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != Path(environment)]
    paths = os.pathsep.join([*others, environment])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": paths} | variables,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.peer("curl, dicomweb-client, Node.js, DCMTK", "the integrator's guide")
def test_the_commands(
    web: WebServer, listener: ListenerProcess, north: Hospital, film: Callable[..., Any], tmp_path: Path
) -> None:
    demo = {
        "base_url": web.url,
        "dimse": {"host": "127.0.0.1", "port": listener.port, "calling_ae": PEER},
        "tenants": [{"ae_title": "NORTH", "api_key": north.api_key}],
    }
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "demo.json").write_text(json.dumps(demo))
    film(1).save_as(tmp_path / "film.dcm")
    # One shell runs all of them, because later ones use the variables of earlier ones.
    said = run(tmp_path, "bash", "-euo", "pipefail", "-c", "\n".join(blocks("bash")))
    assert said.endswith("queued\n")
    assert len(list((tmp_path / "got").iterdir())) == 1
    assert json.loads((tmp_path / "imaging-study.json").read_text())["total"] == 1
    assert len(json.loads((tmp_path / "series.json").read_text())) == 1
    (script,) = blocks("python")
    variables = {"url": web.url, "key": north.api_key}
    assert "Digital X-Ray" in run(tmp_path, sys.executable, "-c", script, **variables)
    (program,) = blocks("javascript")
    (tmp_path / "studies.mjs").write_text(program)
    assert "image/jpeg" in run(tmp_path, "node", "studies.mjs", **variables)


@pytest.mark.peer("Orthanc", "sends by C-STORE from Lua, and by STOW-RS")
def test_orthanc(
    web: WebServer, listener: ListenerProcess, north: Hospital, film: Callable[..., Any], tmp_path: Path
) -> None:
    (configuration,), (script,) = blocks("json"), blocks("lua")
    for written, here in (
        ("11112", str(listener.port)),
        ("http://127.0.0.1:8000", web.url),
        ("THE-API-KEY", north.api_key),
        ("4242", str(free_port())),
    ):
        assert written in configuration
        configuration = configuration.replace(written, here)
    (tmp_path / "checxray.lua").write_text(script)
    with tenant_tx(north.tenant.id):
        Peer(ae_title="ORTHANC", network="127.0.0.1/32").save()
    films = []
    for seed in (1, 2):
        film(seed).save_as(tmp_path / f"{seed}.dcm")
        films.append((tmp_path / f"{seed}.dcm").read_bytes())
    with orthanc(tmp_path, json.loads(configuration)) as url:
        assert requests.post(f"{url}/instances", films[0], timeout=30).status_code == 200
        deadline = time.monotonic() + 30
        while count(north) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        stored = requests.post(f"{url}/instances", films[1], timeout=30).json()["ID"]
        sent = requests.post(f"{url}/dicom-web/servers/checxray/stow", json={"Resources": [stored]}, timeout=60)
        assert sent.status_code == 200, sent.text
    assert count(north) == 2


def count(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return Instance.objects.count()
