from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest

from tests.dicomweb.web import WebServer, running_web_server


@pytest.fixture(scope="session")
def web_server(servers: None) -> Iterator[WebServer]:
    with running_web_server() as server:
        yield server


@pytest.fixture
def web(web_server: WebServer, db: None) -> WebServer:
    """The web server over an empty database."""
    return web_server


@pytest.fixture(scope="session")
def film() -> Callable[..., bytes]:
    """A small synthetic chest film as DICOM bytes; the same arguments give the same bytes."""
    from ml.phantom import write_dicom
    from tests.synthetic import synthetic_image

    def made(seed: int = 1, **attributes: Any) -> bytes:
        target = BytesIO()
        write_dicom(synthetic_image(seed, 256), target, **attributes)
        return target.getvalue()

    return made
