"""`docs/fhir.md`: its table is that of the code, and its examples run."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from apps.fhir.searches import PARAMETERS
from tests.conftest import PROJECT_ROOT, Hospital
from tests.dicomweb.conftest import film, web, web_server
from tests.dicomweb.web import WebServer
from tests.fhir.validation import validate

__all__ = ["film", "web", "web_server"]

PAGE = (PROJECT_ROOT / "docs" / "fhir.md").read_text()


def test_the_table_is_that_of_the_code() -> None:
    rows = [
        f"| {kind} | `{name}` | {each.kind} | {each.documentation.replace('|', chr(92) + '|')} |"
        for kind, parameters in PARAMETERS.items()
        for name, each in parameters.items()
    ]
    table = "\n".join(["| resource | parameter | type | searches |", "| --- | --- | --- | --- |", *rows])
    found = re.search(r"<!-- parameters: begin -->\n(.*)\n<!-- parameters: end -->", PAGE, re.DOTALL)
    assert found[1] == table, f"Replace the table in docs/fhir.md by:\n{table}"


def test_the_examples_run(web: WebServer, north: Hospital, film: Callable[..., bytes], tmp_path: Path) -> None:
    assert web.stow(north.api_key, [film(1, patient_id="P 1")]).status_code == 200
    (commands,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    environment = os.environ | {"url": web.url, "key": north.api_key, "patient": "P 1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = {path.stem: validate(json.loads(path.read_text())) for path in tmp_path.glob("*.json")}
    assert answers["report"]["status"] == "registered"
    assert answers["reports"]["total"] == answers["studies"]["total"] == 1
    assert answers["findings"]["total"] == 0
