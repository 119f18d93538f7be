"""HTML to PDF/A with WeasyPrint, which fetches no URL and executes no script; and the response with such a file."""

import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

from django.http import HttpResponse
from django.template.loader import get_template
from django.utils.http import content_disposition_header

from apps.core.errors import UnavailableError

# Archival with all text as Unicode (ISO 19005-3, level U); tagged beyond that for screen readers.
VARIANT = "pdf/a-3u"
INSTALL_PANGO = (
    "PDF reports need the Pango library. Run `apt-get install -y libpango-1.0-0 libpangoft2-1.0-0` (Debian, Ubuntu) "
    "or `brew install pango` (macOS) on the server and restart it."
)
INSTALL_FONT = (
    "PDF reports need a font. Run `apt-get install -y fonts-dejavu-core` (Debian, Ubuntu) on the server and restart it."
)


def require_pdf() -> None:
    """Check, before any work, that this machine can make PDF files.

    Raises:
        UnavailableError: it lacks Pango or fonts; the detail has the install line.
    """
    _weasyprint()


def to_pdf(html: str, *stylesheets: str) -> bytes:
    """A tagged PDF/A-3u file.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    weasyprint = _weasyprint()
    # WeasyPrint 70 leaves the file of its colour profile for the garbage collector to close.
    warnings.filterwarnings("ignore", r"unclosed file .*sRGB2014\.icc", ResourceWarning)
    source = weasyprint.HTML(string=html, url_fetcher=only_data_urls(weasyprint))
    return source.write_pdf(
        stylesheets=[weasyprint.CSS(string=each, url_fetcher=only_data_urls(weasyprint)) for each in stylesheets],
        pdf_variant=VARIANT,
        pdf_tags=True,
    )


def pdf_response(document: bytes, filename: str, *, inline: bool = False) -> HttpResponse:
    """A PDF to download, or to show in the browser.

    Args:
        filename: without patient data, because it stays in download folders and logs.
        inline: the browser shows the file instead of saving it.
    """
    disposition = content_disposition_header(not inline, filename)
    return HttpResponse(document, content_type="application/pdf", headers={"Content-Disposition": disposition})


def only_data_urls(weasyprint: ModuleType) -> Any:
    """A fetcher that opens no file and no connection."""
    return weasyprint.urls.URLFetcher(allowed_protocols={"data"}, allow_redirects=False)


@lru_cache(maxsize=1)
def _weasyprint() -> ModuleType:
    # Imported here because it takes most of a second and 40 MB, which workers and commands never need. Without Pango
    # the import fails.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "No fonts configured|FontConfig cannot load", UserWarning)
        try:
            import weasyprint
        except OSError as error:
            raise UnavailableError(INSTALL_PANGO, "pango-missing") from error
        except UserWarning as error:
            # Without any font, the layout of a page ends the whole process with a segmentation fault.
            raise UnavailableError(INSTALL_FONT, "fonts-missing") from error
    return weasyprint


@lru_cache(maxsize=4)
def stylesheet(name: str) -> str:
    """The text of a stylesheet among the templates."""
    source: str = get_template(name).template.source  # type: ignore[attr-defined]
    return source
