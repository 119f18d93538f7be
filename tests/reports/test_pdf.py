"""The PDF file: archival, tagged, without network access, and a clear error where it cannot be made."""

import base64
import http.server
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import weasyprint
from django.core.files.storage import default_storage
from PIL import Image

from apps.core.documents import only_data_urls
from apps.core.errors import UnavailableError
from apps.inference.services import claim_jobs, reject_job
from apps.registry.models import ModelVersion
from apps.reports.images import boxes_uri
from apps.reports.models import ReaderFinding
from apps.reports.services import render_pdf
from apps.studies.models import Study
from apps.studies.selectors import instances_of
from apps.tenants.scope import tenant_tx
from tests.conftest import PROJECT_ROOT, Hospital
from tests.reports.reading import figure_texts, opened, text_of
from tests.reports.test_services import sign_as_radiologist, words


def test_the_file_is_archival_tagged_and_names_no_patient_in_its_metadata(
    north: Hospital, read_study: Callable[..., Study]
) -> None:
    study = read_study(north, film={"patient_name": "Canary^Cora", "patient_id": "CANARY-1"}, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        data = render_pdf(study=study)
    file = opened(data)
    catalogue = file.trailer["/Root"].get_object()
    assert catalogue["/MarkInfo"]["/Marked"]
    assert catalogue["/Lang"] == "en"
    assert "/StructTreeRoot" in catalogue
    assert "/OutputIntents" in catalogue
    packet = catalogue["/Metadata"].get_object().get_data().decode()
    assert 'pdfaid:part="3"' in packet or "<pdfaid:part>3" in packet
    assert "CANARY" not in packet.upper()
    assert file.metadata is not None
    assert file.metadata.title == "Chest radiograph report"
    assert "CANARY" not in str(dict(file.metadata)).upper()


def test_every_font_is_embedded(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        file = opened(render_pdf(study=study))
    fonts = [font for page in file.pages for font in page["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        descendant = font.get_object()["/DescendantFonts"][0].get_object()
        assert {"/FontFile2", "/FontFile3"} & set(descendant["/FontDescriptor"].get_object())


def test_every_picture_says_what_it_shows(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        image = instances_of(study)[0].sop_instance_uid
        for name, box in (("Rib fracture", [100, 50, 60, 40]), ("Line", [10, 10, 20, 20]), ("No box", None)):
            ReaderFinding.objects.create(
                study=study, name=name, sop_instance_uid=image if box else "", box=box, reader=north.radiologist
            )
        file = opened(render_pdf(study=study))
    found = figure_texts(file.trailer["/Root"]["/StructTreeRoot"])
    assert len(found) == 3
    assert "The film with boxes of the reader: Rib fracture, Line" in found
    assert any("AI overlay for Effusion" in alt for alt in found)


def test_a_box_is_drawn_where_the_reader_drew_it() -> None:
    uri = boxes_uri(Image.new("L", (400, 200)), [(0.25, 0.5, 0.5, 0.75)])
    drawn = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("L")
    assert [drawn.getpixel(place) > 100 for place in ((150, 100), (199, 130), (150, 149), (170, 130), (99, 90))] == [
        True, True, True, False, False,
    ]  # fmt: skip


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src='{url}/img'>",
    "<style>@import url({url}/css);</style>",
    "{{ settings.SECRET_KEY }}{% include 'x' %}",
    "<link rel=attachment href=file:///etc/passwd>",
    "]]>&lt;b&gt;\\n--><!--",
)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that remembers who asked it for what."""
    asked: list[str] = []

    class Remember(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Remember)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_text_from_outside_stays_text(
    north: Hospital, read_study: Callable[..., Study], listener: tuple[str, list[str]]
) -> None:
    url, asked = listener
    study = read_study(north, Effusion=0.7)
    for text in HOSTILE:
        hostile = text.replace("{url}", url)
        with tenant_tx(north.tenant.id):
            Study.objects.filter(pk=study.pk).update(
                patient_name=hostile,
                study_description=hostile,
                referring_physician_name=hostile,
                accession_number=hostile[:64],
            )
            file = opened(render_pdf(study=study))
        assert "".join(text_of(file).split()).count(hostile.replace(" ", "")) >= 2, text
        assert "/EmbeddedFiles" not in str(file.trailer["/Root"])
    assert not asked


def test_names_in_any_script_and_of_any_length_are_set(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north)
    for name in ("山田^太郎", "محمد^علي", "Ω" * 324, "A\u202eB^\u200b", "^^^^", "👩🏽‍⚕️"):
        with tenant_tx(north.tenant.id):
            study.patient_name = name
            study.save()
            assert render_pdf(study=study).startswith(b"%PDF-1.7")


def test_the_fetcher_opens_neither_files_nor_connections(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    url, asked = listener
    secret = tmp_path / "secret"
    secret.write_text("secret")
    fetcher = only_data_urls(weasyprint)
    for address in (secret.as_uri(), f"{url}/x", "ftp://127.0.0.1/x", "HTTP" + url[4:]):
        with pytest.raises(ValueError, match="disallowed protocol"):
            fetcher.fetch(address)
    assert not asked
    assert fetcher.fetch("data:text/plain,here").read() == b"here"


def test_the_stylesheet_asks_for_nothing_outside() -> None:
    source = (PROJECT_ROOT / "templates" / "documents" / "document.css").read_text()
    assert source.count("url(") == source.count('url("data:')
    assert "@import" not in source


@pytest.mark.parametrize(("broken", "says"), [("pango", "libpango-1.0-0"), ("fonts", "fonts-dejavu-core")])
def test_a_machine_that_cannot_make_pdf_starts_and_says_what_to_install(tmp_path: Path, broken: str, says: str) -> None:
    (tmp_path / "fonts.conf").write_text(f"<fontconfig><cachedir>{tmp_path / 'cache'}</cachedir></fontconfig>")
    lines = [
        "import sys, django",
        "django.setup()",
        "from apps.core.errors import UnavailableError",
        "from apps.reports import pdf",
        "assert 'weasyprint' not in sys.modules",
        "import cffi",
        "real = cffi.FFI.dlopen",
        "def missing(self, name, *rest):",
        "    if 'pango' in str(name): raise OSError('cannot load library')",
        "    return real(self, name, *rest)",
        "cffi.FFI.dlopen = missing" if broken == "pango" else "",
        "for attempt in range(2):",
        "    try: pdf.render(None)",
        "    except UnavailableError as error: print(error.code, error.detail)",
    ]
    environment = os.environ | ({"FONTCONFIG_FILE": str(tmp_path / "fonts.conf")} if broken == "fonts" else {})
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    answers = [line for line in done.stdout.splitlines() if "-missing " in line]
    assert len(answers) == 2
    assert all(answer.startswith(f"{broken}-missing") and says in answer for answer in answers)


def test_a_film_whose_object_is_missing_gives_no_report(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north, Effusion=0.7)
    with tenant_tx(north.tenant.id):
        key = study.report_drafts.get().job.instance.object_key
        default_storage.delete(key)
        with pytest.raises(UnavailableError, match="image is missing: send it again"):
            render_pdf(study=study)


def test_a_report_of_another_part_of_the_body_is_not_called_one_of_the_chest(
    north: Hospital, store_film: Callable[..., Any], version: ModelVersion
) -> None:
    store_film(north, size=256)
    (claimed,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        study = Study.objects.get()
        Study.objects.update(referring_physician_name="Doe^Ann^^Dr.")
        reject_job(job=claimed, code="not-chest", reason="Another part.", instances_seen=1)
        sign_as_radiologist(north, study)
        text = words(render_pdf(study=study))
    assert "Radiograph report" in text
    assert "Chest radiograph report" not in text
    assert "Doe, Ann" in text
