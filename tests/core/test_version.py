"""One version number: ``pyproject.toml`` has it, and all other places agree."""

import re
import tomllib

from django.conf import settings

from apps.core.implementation import FILE_VERSION_NAME, IMPLEMENTATION_VERSION_NAME
from apps.core.version import VERSION
from tests.conftest import PROJECT_ROOT

LONGEST_SHORT_STRING = 16


def test_all_that_state_a_version_state_this_one() -> None:
    assert tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == VERSION
    assert f"## [{VERSION}]" in (PROJECT_ROOT / "CHANGELOG.md").read_text()


def test_the_name_for_dicom_peers_fits_its_value_representation() -> None:
    """SH (PS3.5 section 6.2), as (0002,0013) and PS3.7 D.3.3.2.3 have it."""
    assert len(IMPLEMENTATION_VERSION_NAME) <= LONGEST_SHORT_STRING
    assert IMPLEMENTATION_VERSION_NAME.endswith(VERSION)


def test_received_files_do_not_change_with_the_version() -> None:
    """The same data set must become the same file in every release: its SHA-256 is its key in the object storage."""
    assert FILE_VERSION_NAME == "CHECXRAY"
