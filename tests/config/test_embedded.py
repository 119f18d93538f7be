"""The embedded servers: closed to other users, shared by processes, stopped with the last one."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from config.embedded import paths, postgres, valkey
from tests.conftest import PROJECT_ROOT


def in_fresh_home(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=os.environ | {"CHECXRAY_HOME": str(home)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


def test_no_login_works_without_its_password(servers: None) -> None:
    for user in ("postgres", "chx_app", "chx_owner"):
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host=str(paths.socket_folder()), user=user, dbname="postgres", password="wrong")


def test_nobody_else_may_read_the_home(servers: None) -> None:
    assert stat.S_IMODE(paths.prepared_home().stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.socket_folder().stat().st_mode) == 0o700
    assert stat.S_IMODE((paths.prepared_home() / "secrets.json").stat().st_mode) == 0o600


def test_the_servers_listen_on_no_network(servers: None) -> None:
    for process in (postgres.postmaster(), valkey.process()):
        assert process is not None
        assert not [each for each in process.net_connections(kind="inet") if each.status == "LISTEN"]


def test_valkey_keeps_what_it_was_given_and_evicts_nothing(servers: None) -> None:
    assert valkey.client().config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert valkey.client().config_get("appendonly")["appendonly"] == "yes"


def test_the_last_process_out_stops_the_servers(tmp_path: Path) -> None:
    code = (
        "from config.embedded import running_services, postgres, valkey\n"
        "with running_services():\n"
        "    with running_services(): pass\n"
        "    print(postgres.postmaster() is not None, valkey.process() is not None)\n"
        "print(postgres.postmaster(), valkey.process())\n"
    )
    assert in_fresh_home(code, tmp_path / "home").stdout.split() == ["True", "True", "None", "None"]


def test_a_long_home_path_still_gets_sockets(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 25)
    code = (
        "from config.embedded import running_services, postgres\n"
        "with running_services(): print(postgres.postmaster() is not None)\n"
    )
    assert in_fresh_home(code, home).stdout.strip() == "True"


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    code = (
        "from config.embedded import keep_running, running_services, postgres, valkey\n"
        "with running_services():\n"
        "    before = postgres.postmaster(), valkey.process()\n"
        "    for each in before: each.kill()\n"
        "    import time; time.sleep(0.2)\n"
        "    print(postgres.postmaster(), valkey.process())\n"
        "    keep_running()\n"
        "    print(postgres.postmaster() != before[0], valkey.client().ping())\n"
        "    import psycopg2; psycopg2.connect(**postgres.admin_dsn()).close()\n"
    )
    said = in_fresh_home(code, tmp_path / "home").stdout.splitlines()
    assert said[0] == "None None"
    assert said[-1] == "True True"
