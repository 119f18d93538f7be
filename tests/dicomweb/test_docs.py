"""`docs/dicomweb.md`: its tables are those of the code, and its examples run."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.dicomweb.failure_reasons import failure_table
from apps.studies.query.attributes import ATTRIBUTES
from tests.conftest import PROJECT_ROOT, Hospital
from tests.dicomweb.web import WebServer

PAGE = PROJECT_ROOT / "docs" / "dicomweb.md"


def attributes_table() -> str:
    rows = [
        f"| {attribute.keyword} | {attribute.tag[:4]},{attribute.tag[4:]} | {attribute.level.name.lower()} "
        f"| {attribute.match} | {'always' if attribute.is_default else 'where asked for'} |"
        for attribute in ATTRIBUTES.values()
    ]
    return "\n".join(["| attribute | tag | level | matched by | returned |", "| --- | --- | --- | --- | --- |", *rows])


def reasons_table() -> str:
    rows = [
        f"| `{reason:04X}` | {meaning} | {', '.join(f'`{code}`' for code in codes)} |"
        for reason, meaning, codes in failure_table()
    ]
    return "\n".join(["| Failure Reason | means | codes |", "| --- | --- | --- |", *rows])


@pytest.mark.parametrize(("name", "table"), [("attributes", attributes_table), ("reasons", reasons_table)])
def test_the_tables_are_those_of_the_code(name: str, table: Callable[[], str]) -> None:
    found = re.search(rf"<!-- {name}: begin -->\n(.*)\n<!-- {name}: end -->", PAGE.read_text(), re.DOTALL)
    assert found[1] == table(), f"Replace the table in docs/dicomweb.md by:\n{table()}"


def test_the_examples_run(web: WebServer, north: Hospital, film: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(film(1))
    environment = os.environ | {"url": web.url, "key": north.api_key}
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [language for language, _ in blocks] == ["bash", "python"]
    for language, code in blocks:
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert "Explicit VR Little Endian" in done.stdout
    assert (tmp_path / "thumbnail.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert film(1) in (tmp_path / "study.multipart").read_bytes()
