from pathlib import Path

import pytest

from tests.ml.evaluation import golden as source


@pytest.fixture(scope="session")
def golden(test_data: Path) -> source.Golden:
    return source.read(test_data)
