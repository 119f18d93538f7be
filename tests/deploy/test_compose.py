"""compose.yaml, the Dockerfile and the production guide: valid, without secrets, and with commands that exist."""

import importlib.metadata
import importlib.resources
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import get_commands

from tests.conftest import PROJECT_ROOT

OURS = {"prepare", "web", "dispatcher", "jobs", "worker", "dimse", "trainer-1", "trainer-2", "trainer-3"}
PERMISSIVE_IMAGES = {"postgres": "PostgreSQL", "valkey/valkey": "BSD-3-Clause", "chrislusf/seaweedfs": "Apache-2.0"}
ONLY_PREPARE_SEES = {"database_owner_url", "database_admin_url"}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def guide() -> str:
    return (PROJECT_ROOT / "docs" / "production.md").read_text()


@pytest.fixture
def services(compose: Any) -> dict[str, Any]:
    return compose["services"]


def command_of(service: Any) -> str:
    command = service["command"]
    return command if isinstance(command, str) else " ".join(command)


def test_it_is_a_compose_file(compose: Any) -> None:
    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(schema.read_text()))


def test_a_wrong_key_would_be_noticed(compose: Any) -> None:
    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    wrong = json.loads(json.dumps(compose))
    wrong["services"]["web"]["comand"] = ["gunicorn"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json.loads(schema.read_text()))


def test_every_part_is_there(services: Any) -> None:
    assert set(services) == OURS | {"database", "broker", "objects"}
    assert services["dimse"]["profiles"] == ["dimse"]
    trainers = [service for name, service in services.items() if name.startswith("trainer-")]
    assert len(trainers) == 3
    assert all(trainer["profiles"] == ["training"] for trainer in trainers)
    for service in (services["worker"], *trainers):
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_foreign_images_are_pinned_and_permissive(services: Any) -> None:
    for name in set(services) - OURS:
        image, _, tag = services[name]["image"].partition(":")
        assert image in PERMISSIVE_IMAGES
        assert re.match(r"\d+\.\d+", tag), f"{image} is not pinned to a version"


def test_our_containers_are_locked_down(services: Any) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "user" not in service, "the image's own user is unprivileged"
    assert "\nUSER checxray\n" in (PROJECT_ROOT / "Dockerfile").read_text()


def test_what_listens_is_watched_and_what_depends_waits(services: Any) -> None:
    for name in ("database", "broker", "objects", "web", "dimse"):
        assert services[name]["healthcheck"]["test"]
    for name in ("web", "dispatcher", "jobs", "worker", "dimse"):
        waits = services[name]["depends_on"]
        assert waits["prepare"]["condition"] == "service_completed_successfully"


def test_no_secret_is_written_down(compose: Any, services: Any) -> None:
    text = (PROJECT_ROOT / "compose.yaml").read_text()
    assert not re.search(r"://[^/\s:]*:[^/\s@]+@", text)
    for name, service in services.items():
        environment = service.get("environment", {})
        for variable, value in environment.items():
            if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE.*URL|REDIS_URL", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.startswith("/run/secrets/")
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable}"
    used = {secret for service in services.values() for secret in service.get("secrets", ())}
    assert used == set(compose["secrets"])


def test_every_setting_is_in_the_guide(guide: str) -> None:
    """Of the demo and of tests alone are the others."""
    others = {"PORT", "FILMS", "DEMO_EMPTY", "CHECXRAY_UNSAFE_FAST_DATABASE"}
    sources = "".join(path.read_text() for path in (PROJECT_ROOT / "config").rglob("*.py"))
    read = set(re.findall(r'\benv_[a-z]+\(\s*"([A-Z][A-Z0-9_]+)"', sources)) - others
    assert len(read) > 60
    assert {name for name in read if not re.search(rf"\b{name}\b", guide)} == set()


def test_only_the_preparation_sees_the_owner(services: Any) -> None:
    for name, service in services.items():
        assert (set(service.get("secrets", ())) >= ONLY_PREPARE_SEES) == (name == "prepare")
        assert name == "prepare" or not ONLY_PREPARE_SEES & set(service.get("secrets", ()))


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_exists(services: Any, name: str) -> None:
    command = command_of(services[name])
    known = get_commands()
    management = re.findall(r"manage\.py (\w+)", command)
    modules = re.findall(r"-m ([\w.]+)", command) + re.findall(r"-A ([\w.]+)", command)
    scripts = [word for word in ("gunicorn", "celery") if command.startswith(word)]

    assert management or modules or scripts
    assert [each for each in management if each not in known] == []
    assert [each for each in modules if importlib.util.find_spec(each) is None] == []
    installed = {entry.name for entry in importlib.metadata.entry_points(group="console_scripts")}
    assert set(scripts) <= installed
    if "gunicorn" in scripts:
        configuration, application = re.findall(r"-c (\S+) (\S+)", command)[0]
        assert (PROJECT_ROOT / configuration).is_file()
        assert importlib.util.find_spec(application)


def test_the_trainers_options_exist(services: Any) -> None:
    options = set(re.findall(r"(--[a-z-]+)", command_of(services["trainer-1"])))
    shown = subprocess.run(
        [sys.executable, "-m", "ml.training", "--help"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert options <= set(re.findall(r"(--[a-z-]+)", shown.stdout))


def test_the_trainers_are_nodes_of_one_training(compose: Any, services: Any) -> None:
    """The same command on each, meeting at one of them, in a network without a way out."""
    trainers = [services[f"trainer-{n}"] for n in (1, 2, 3)]
    assert trainers[0] == trainers[1] == trainers[2]
    command = command_of(trainers[0])
    assert "--nnodes 3" in command
    assert "--rdzv-endpoint trainer-1:" in command
    assert trainers[0]["networks"] == ["training"]
    assert compose["networks"]["training"] == {"internal": True}


def test_the_guides_commands_and_variables_exist(compose: Any, guide: str) -> None:
    known = get_commands()
    assert [each for each in re.findall(r"manage\.py ([a-z_]+)", guide) if each not in known] == []
    text = (PROJECT_ROOT / "compose.yaml").read_text()
    passed_on, not_passed_on = guide.split("### Other settings")
    for part, is_passed_on in ((passed_on, True), (not_passed_on, False)):
        for row in re.findall(r"^\| (`[A-Z0-9_`, ]+`) \|", part, re.MULTILINE):
            for variable in re.findall(r"[A-Z0-9_]+", row):
                assert (f"${{{variable}:" in text) is is_passed_on, variable


@pytest.fixture
def made_secrets(guide: str, tmp_path: Path) -> Path:
    """The guide's first block, run as it stands."""
    block = re.findall(r"```bash\n(.*?)```", guide, re.DOTALL)[0]
    subprocess.run(["bash", "-c", block], cwd=tmp_path, check=True, timeout=60)
    return tmp_path / "secrets"


def test_the_guides_secrets_are_all_of_them(compose: Any, made_secrets: Path) -> None:
    assert {path.name for path in made_secrets.iterdir()} == set(compose["secrets"])
    assert stat.S_IMODE(made_secrets.stat().st_mode) == 0o700
    identity = json.loads((made_secrets / "objects_conf").read_text())["identities"][0]
    assert identity["credentials"][0]["secretKey"] == (made_secrets / "s3_secret_access_key").read_text().strip()
    password = (made_secrets / "broker_conf").read_text().removeprefix("requirepass ").strip()
    assert f":{password}@" in (made_secrets / "redis_url").read_text()


@pytest.mark.parametrize("name", ["prepare", "web"])
def test_production_starts_with_the_guides_secrets(
    services: Any, made_secrets: Path, tmp_path: Path, name: str
) -> None:
    """The settings that a container sees: each role logs in as itself, and the web has no owner."""
    code = (
        "import django, json; django.setup(); from django.conf import settings as s; "
        "print(json.dumps({a: [d['USER'], d['OPTIONS'].get('assume_role')] for a, d in s.DATABASES.items()}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT, env=container_environment(services[name], made_secrets, tmp_path),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert shown.returncode == 0, shown.stderr
    logins = json.loads(shown.stdout)
    assert [logins[alias] for alias in ("default", "dispatch", "auth")] == [
        ["chx_app", None], ["chx_dispatch", None], ["chx_auth", None],
    ]  # fmt: skip
    assert logins["owner"] == (["chx_owner", None] if name == "prepare" else ["chx_app", "chx_owner"])


def container_environment(service: Any, secrets: Path, home: Path) -> dict[str, str]:
    given = {}
    for variable, value in service["environment"].items():
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
        given[variable] = default[1] if default else value.replace("/run/secrets", str(secrets))
    return given | {"PATH": os.environ["PATH"], "CHECXRAY_HOME": str(home), "ALLOWED_HOSTS": "x.example"}


def test_the_web_container_needs_its_hosts(services: Any) -> None:
    assert services["web"]["environment"]["ALLOWED_HOSTS"].startswith("${ALLOWED_HOSTS:?")


def test_the_images_static_files_can_be_built(tmp_path: Path) -> None:
    """The build's own line, without servers, without secrets, leaving nothing but files."""
    dockerfile = (PROJECT_ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"&&\s+(SECRET_KEY=\S+ .*collectstatic --no-input)", dockerfile)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CHECXRAY_HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "static" / "staticfiles.json").is_file()
    assert not (tmp_path / "secrets.json").exists()


def test_the_image_takes_no_secrets_and_no_data() -> None:
    ignored = (PROJECT_ROOT / ".dockerignore").read_text().split()
    assert {"secrets", "var", ".git", "training-data"} <= set(ignored)


@pytest.mark.skipif(shutil.which("docker") is None, reason="Docker is not installed")
def test_docker_accepts_the_file(tmp_path: Path, made_secrets: Path) -> None:
    version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if version.returncode != 0:
        pytest.skip("Docker has no compose plugin here.")
    done = subprocess.run(
        ["docker", "compose", "--profile", "*", "config", "--quiet"],
        cwd=PROJECT_ROOT, env=os.environ | {"ALLOWED_HOSTS": "x.example"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
