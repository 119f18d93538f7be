"""Loaded before Django's settings (``-p tests.plugin``): gives each test process a home and servers of its own."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

for replaced in ("DATABASE_URL", "REDIS_URL", "S3_BUCKET", "S3_ENDPOINT_URL", "SECRET_KEY", "ALLOWED_HOSTS"):
    os.environ.pop(replaced, None)
HOME = Path(tempfile.mkdtemp(prefix="chx-"))
os.environ["CHECXRAY_HOME"] = str(HOME)
os.environ["CHECXRAY_UNSAFE_FAST_DATABASE"] = "1"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.test"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
