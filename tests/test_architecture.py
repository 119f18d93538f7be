"""The walls of the house: the staircase, the size of its rooms, and what must not come in."""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT_ROOT

ROOMS = ("apps", "config", "ml", "recipes", "workers")
LONGEST_FILE = 350
# WSGI, URLs and all views, as a web process has them; then what it must not have.
WEB_PROCESS = """
import sys
import config.wsgi
from django.urls import get_resolver
def walk(patterns):
    for each in patterns:
        walk(getattr(each, "url_patterns", []))
walk(get_resolver().url_patterns)
heavy = {"torch", "torchvision", "timm", "onnx", "onnxruntime"} & set(sys.modules)
sys.exit(f"A web process imports {', '.join(sorted(heavy))}." if heavy else 0)
"""


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((PROJECT_ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT))


def test_the_staircase() -> None:
    """The contracts, each with its remedy as its name, are in pyproject.toml."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def imports_inside_functions(source: str) -> list[tuple[int, str]]:
    """Line and name of every import of our own packages that is not at the top of its module."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "."] if node.level == 0 else ["."]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            found += [(node.lineno, name) for name in names if name.split(".")[0] in (*ROOMS, "")]
    return found


def test_own_packages_are_imported_at_the_top() -> None:
    """A hidden import is a hidden step down the staircase. ``ml`` alone may wait, to keep torch out of the web."""
    hidden = [
        f"{relative(path)}:{line} imports {name} inside a function: import it at the top, or move what both need left"
        for path in sources("apps", "config", "workers")
        for line, name in imports_inside_functions(path.read_text())
    ]
    assert hidden == []


def test_a_hidden_import_would_be_noticed() -> None:
    hidden = "async def f():\n    if os:\n        import apps.core.errors\n        from ml import labels, torch\n"
    assert imports_inside_functions(hidden) == [(3, "apps.core.errors"), (4, "ml")]
    assert imports_inside_functions("import apps\ndef f():\n    import os\n    from django.db import models\n") == []


def test_files_stay_small() -> None:
    long = [
        f"{relative(path)} has {length} lines: divide it by what it is about"
        for path in sources(*ROOMS, "tests", "benchmarks")
        if "migrations" not in path.parts and (length := len(path.read_text().splitlines())) > LONGEST_FILE
    ]
    assert long == []


@pytest.mark.parametrize("module", ["config.wsgi", "workers.celery"])
def test_the_processes_start_without_servers(module: str, tmp_path: Path) -> None:
    run_python(f"import {module}", tmp_path)


def test_a_web_process_never_imports_torch(tmp_path: Path) -> None:
    run_python(WEB_PROCESS, tmp_path)


def run_python(code: str, home: Path) -> None:
    environment = {**os.environ, "CHECXRAY_HOME": str(home), "DJANGO_SETTINGS_MODULE": "config.settings.embedded"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_django_finds_one_database_driver() -> None:
    """Django prefers psycopg 3 wherever it can be imported, so a dependency that brings it would swap the driver."""
    assert importlib.util.find_spec("psycopg") is None


# Modules that run SQL of their own, and why. Row-level security does not stop a statement that sets the tenant.
def test_tables_are_written_as_csv_in_one_place() -> None:
    """`as_csv` lets no cell be a formula of a spreadsheet."""
    writers = [relative(path) for path in sources("apps", "config", "workers") if "import csv" in path.read_text()]
    assert writers == ["apps/core/csv_text.py"]


SQL_BY_HAND = {
    "apps/audit/services.py": "a line with every request",
    "apps/inference/image_choice.py": "the images of every batch, each with what was said of it",
    "apps/core/index_operations.py": "an operation of migrations",
    "apps/core/work_queue.py": "a claim of every batch",
    "apps/inference/fairness.py": "the turn that is served, with the claim of every batch",
    "apps/inference/requests.py": "queueing, with every film",
    "apps/inference/services.py": "claiming and completing, with every film",
    "apps/reports/services/drafts.py": "one statement for the report that is there and the one that is not",
    "apps/routing/rule_selectors.py": "the rules in force, with every request that stores",
    "apps/studies/services.py": "one round trip for an instance",
    "apps/tenants/checks.py": "reads the role's privileges from PostgreSQL, and sets the limits of an assumed one",
    "apps/tenants/rls.py": "operations of migrations",
    "apps/tenants/roles.py": "creates the roles, before Django runs",
    "apps/tenants/services.py": "finds the API key of a request, which the ORM makes 15 % of a STOW dearer",
    "apps/tenants/scope.py": "puts the tenant in force",
}


def runs_sql(source: str) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    names = (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "") for called in calls)
    return any(name in ("cursor", "raw", "extra") for name in names)


def test_sql_is_written_by_hand_in_few_places() -> None:
    found = {relative(path) for path in sources("apps", "workers") if runs_sql(path.read_text())}
    assert found == set(SQL_BY_HAND), "Use the ORM, or name the module here with the reason."


@pytest.mark.parametrize("line", ["c.cursor().execute('x')", "Job.objects.raw('x')", "jobs.extra(where=['x'])"])
def test_sql_elsewhere_would_be_noticed(line: str) -> None:
    assert runs_sql(line)
