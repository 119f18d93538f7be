from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.dimse.listening import ListenerProcess, listener_process
from tests.reports.conftest import finish, read_study, version

__all__ = ["finish", "read_study", "version"]


@pytest.fixture(scope="session")
def listener_of_session(servers: None) -> Iterator[ListenerProcess]:
    with listener_process() as listener:
        yield listener


@pytest.fixture
def listener(listener_of_session: ListenerProcess, db: None) -> ListenerProcess:
    """The DIMSE listener over an empty database."""
    return listener_of_session


@pytest.fixture(scope="session")
def film() -> Callable[..., Dataset]:
    """A small synthetic chest film; the same arguments give the same film."""
    from ml.phantom import write_dicom
    from tests.synthetic import synthetic_image

    def made(seed: int = 1, **attributes: Any) -> Dataset:
        target = BytesIO()
        write_dicom(synthetic_image(seed, 256), target, **attributes)
        return pydicom.dcmread(BytesIO(target.getvalue()))

    return made
