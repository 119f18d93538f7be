"""OHIF opens a study of ours from a server of its own, through DICOMweb with an API key.

The package is 50 MB, and 213 MB unpacked, so it is no dependency in ``package.json``: the test fetches it by npm once,
checks its hash and keeps it for later runs.
"""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from apps.studies.models import Study
from apps.tenants.models import AllowedOrigin
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.prepared import KEPT
from tests.result_objects.conftest import finish, objects, read_study, version, want

__all__ = ["finish", "read_study", "version"]

pytestmark = [pytest.mark.browser, pytest.mark.long]
PACKAGE = "@ohif/app@3.13.2"
SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="


@pytest.fixture(scope="module")
def ohif() -> Path:
    """The folder of the built viewer."""
    folder = KEPT / "ohif-3.13.2"
    if not folder.exists():
        aside = KEPT / "ohif-being-fetched"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        npm = Path(sys.executable).parent / "npm"
        done = subprocess.run([npm, "pack", PACKAGE], cwd=aside, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot fetch {PACKAGE}.")
        (archive,) = aside.glob("*.tgz")
        assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == SHA512
        with tarfile.open(archive) as packed:
            packed.extractall(aside, filter="data")
        archive.unlink()
        aside.rename(folder)
    return folder / "package" / "dist"


@pytest.fixture
def viewer(ohif: Path, site: str) -> Iterator[str]:
    """The address of a static server with OHIF, whose data source is our DICOMweb."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "checxray",
        "configuration": {
            "friendlyName": "Checxray",
            "name": "checxray",
            "qidoRoot": f"{site}/dicom-web",
            "wadoRoot": f"{site}/dicom-web",
            "wadoUriRoot": f"{site}/dicom-web",
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
            "omitQuotationForMultipartRequest": True,
        },
    }
    configuration = {
        "routerBasename": "/", "showStudyList": True, "extensions": [], "modes": [],
        "dataSources": [source], "defaultDataSourceName": "checxray",
    }  # fmt: skip

    class Server(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(ohif))

        def do_GET(self) -> None:
            if self.path == "/app-config.js":
                body = f"window.config = {json.dumps(configuration)};".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            if not Path(self.translate_path(self.path)).is_file():
                self.path = "/index.html"
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def pixels(page: Page) -> bytes:
    """The shown image in grey, without what is written at its edges."""
    picture = Image.open(io.BytesIO(page.locator("[data-cy=viewport-pane]").first.screenshot())).convert("L")
    width, height = picture.size
    return picture.crop((width // 3, height // 3, 2 * width // 3, 2 * height // 3)).tobytes()


def wait_for_image(page: Page, *, other_than: bytes = b"") -> bytes:
    """Wait until the viewport shows an image, which has many shades of grey."""
    for _ in range(120):
        shown = pixels(page)
        if len(set(shown)) > 50 and shown != other_than:
            return shown
        page.wait_for_timeout(500)
    raise AssertionError("OHIF shows no image.")


@pytest.mark.peer("OHIF", "shows image and Secondary Capture, lists Structured Report")
def test_ohif_shows_a_study_with_its_results(
    page: Page, viewer: str, north: Hospital, read_study: Callable[..., Study]
) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    objects(north, study)
    with tenant_tx(north.tenant.pk):
        AllowedOrigin.objects.create(origin=viewer)
    page.goto(f"{viewer}/viewer?StudyInstanceUIDs={study.study_instance_uid}&token={north.api_key}")
    page.get_by_text("Skip all").click(timeout=120_000)
    page.get_by_text("Confirm and hide").click()
    radiograph = wait_for_image(page)
    page.get_by_text("AI result, secondary").first.dblclick()
    wait_for_image(page, other_than=radiograph)
    # OHIF lists the Structured Report and draws nothing of it (docs/dicomweb.md).
    expect(page.get_by_text("AI result, structured").first).to_be_visible()
