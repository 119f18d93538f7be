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
    from ml.phantom import generate, write_dicom

    generated: dict[int, Any] = {}

    def made(seed: int = 1, **attributes: Any) -> bytes:
        if seed not in generated:
            generated[seed] = generate(seed, size=256)
        target = BytesIO()
        write_dicom(generated[seed], target, **attributes)
        return target.getvalue()

    return made
