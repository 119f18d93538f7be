"""Development tools: pinned packages with hashes, and hooks that run the same checks as CI."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT_ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Each package that a file pins, by its normalised name, with its version."""
    found = PIN.findall((PROJECT_ROOT / name).read_text())
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.mark.parametrize("name", ["requirements", "requirements-build", "requirements-dev"])
def test_what_is_installed_is_what_was_asked_for_with_hashes(name: str) -> None:
    asked, installed = pins(f"{name}.in"), pins(f"{name}.txt")
    assert {package: installed.get(package) for package in asked} == asked, "Run `make requirements`."
    entries = re.split(r"\n(?=\S)", (PROJECT_ROOT / f"{name}.txt").read_text())
    packages = [entry for entry in entries if not entry.startswith("#")]
    assert len(packages) == len(installed)
    assert [entry for entry in packages if "--hash=sha256:" not in entry] == []


def test_development_has_the_versions_of_production() -> None:
    for name in ("requirements.txt", "requirements-build.txt"):
        assert pins(name).items() <= pins("requirements-dev.txt").items(), "Run `make requirements`."


def test_no_package_host_is_named() -> None:
    for path in PROJECT_ROOT.glob("requirements*"):
        assert not re.search(r"index-url|find-links|https?://", path.read_text()), path.name
    for name in ("package.json", "package-lock.json", ".npmrc"):
        assert not re.search(r'registry=|"resolved"', (PROJECT_ROOT / name).read_text()), name


def test_hooks_run_what_ci_runs() -> None:
    """Each hook is a line of the Makefile, or a target of it, so neither can forget a check that the other makes."""
    subprocess.run(
        [Path(sys.executable).parent / "pre-commit", "validate-config"], cwd=PROJECT_ROOT, check=True, timeout=60
    )
    repositories = yaml.safe_load((PROJECT_ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    hooks = {hook["entry"].removesuffix(" --force-exclude") for hook in repositories[0]["hooks"]}
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for entry in hooks:
        line = (
            f"\n{entry.removeprefix('make ')}: " if entry.startswith("make ") else entry.replace(".venv/bin", "$(BIN)")
        )
        assert line in makefile, entry
    assert hooks >= {
        ".venv/bin/ruff check",
        ".venv/bin/ruff format --check",
        ".venv/bin/lint-imports",
        ".venv/bin/mypy",
    }
