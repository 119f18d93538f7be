"""HTML to PDF/A with WeasyPrint, which fetches no URL and executes no script; and the response with such a file."""

import contextlib
import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

from django.http import HttpResponse
from django.template.loader import get_template
from django.utils.http import content_disposition_header

from apps.core.errors import UnavailableError

# Archival with all text as Unicode (ISO 19005-3, level U), and tagged for screen readers (ISO 14289-1, PDF/UA-1).
VARIANT = "pdf/a-3u"
# WeasyPrint declares one of both. PDF/A allows the other's property with a description of it (ISO 19005-3, 6.6.2.3).
_UA_1 = b"""
<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/"><pdfuaid:part>1</pdfuaid:part></rdf:Description>
<rdf:Description rdf:about="" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
  xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:name>part</pdfaProperty:name><pdfaProperty:valueType>Integer</pdfaProperty:valueType>
<pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 that the file conforms to</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>
"""
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


def warm_up() -> None:
    """Load what makes PDF, so that the first signature of a server need not wait seconds for it."""
    with contextlib.suppress(UnavailableError):
        to_pdf("<html lang=en><title>Start</title><p>Start</p></html>", stylesheet("documents/document.css"))


def to_pdf(html: str, *stylesheets: str) -> bytes:
    """A file that is PDF/A-3u and PDF/UA-1. The text names its language and title, and each image has an `alt`.

    Raises:
        UnavailableError: this machine lacks Pango or fonts; the detail has the install line.
    """
    weasyprint = _weasyprint()
    # WeasyPrint 70 leaves the file of its colour profile for the garbage collector to close.
    warnings.filterwarnings("ignore", r"unclosed file .*sRGB2014\.icc", ResourceWarning)
    source = weasyprint.HTML(string=html, url_fetcher=only_data_urls(weasyprint))
    return source.write_pdf(
        stylesheets=[_parsed(each) for each in stylesheets],
        pdf_variant=VARIANT,
        pdf_tags=True,
        finisher=_declare_ua,
    )


def pdf_response(document: bytes, filename: str, *, inline: bool = False) -> HttpResponse:
    """A PDF to download, or to show in the browser.

    Args:
        filename: without patient data, because it stays in download folders and logs.
        inline: the browser shows the file instead of saving it.
    """
    disposition = content_disposition_header(not inline, filename)
    return HttpResponse(document, content_type="application/pdf", headers={"Content-Disposition": disposition})


def _declare_ua(document: Any, pdf: Any) -> None:
    """Add PDF/UA to the metadata of a finished file."""
    number = int(pdf.catalog["Metadata"].split()[0])
    packet = b"".join(pdf.objects[number].stream)
    head, closing, tail = packet.rpartition(b"</rdf:RDF>")
    pdf.objects[number].stream = [head + _UA_1 + closing + tail]


@lru_cache(maxsize=8)
def _parsed(stylesheet: str) -> Any:
    """A stylesheet as WeasyPrint reads it, which takes a tenth of a document's time."""
    weasyprint = _weasyprint()
    return weasyprint.CSS(string=stylesheet, url_fetcher=only_data_urls(weasyprint))


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
