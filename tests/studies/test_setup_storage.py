"""``manage.py setup_storage`` against a real S3 server, and against the file system."""

import io
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from django.core.management import CommandError, call_command
from storages.backends.s3 import S3Storage

from apps.studies.management.commands import setup_storage
from tests.studies.test_s3 import KEY, SECRET

pytest_plugins = ["tests.studies.test_s3"]


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, **options: Any) -> None:
    given = {"bucket_name": "new-films", "endpoint_url": endpoint, "access_key": KEY, "secret_key": SECRET}
    storage = S3Storage(**given | {"region_name": "us-east-1", "addressing_style": "path"} | options)
    monkeypatch.setattr(setup_storage, "storages", {"default": storage})
    monkeypatch.setattr(setup_storage, "default_storage", storage)


def test_the_bucket_is_made_and_tried_out(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, s3)

    for _ in range(2):
        out = io.StringIO()
        call_command("setup_storage", stdout=out)

    assert out.getvalue() == "Objects are stored in the bucket new-films.\n"
    assert (tmp_path / "s3" / "new-films").is_dir()
    assert [path for path in (tmp_path / "s3").rglob("*") if path.is_file()] == []


def test_wrong_keys_are_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, s3, secret_key="wrong")
    with pytest.raises(CommandError, match=r"AWS_\*"):
        call_command("setup_storage")


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:1", client_config=Config(retries={"max_attempts": 0}, connect_timeout=1))
    with pytest.raises(CommandError, match="S3_ENDPOINT_URL"):
        call_command("setup_storage")


def test_the_file_system_needs_no_bucket() -> None:
    out = io.StringIO()
    call_command("setup_storage", stdout=out)
    assert out.getvalue().startswith("Objects are stored in the folder ")
