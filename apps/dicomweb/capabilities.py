"""What the DICOMweb service offers, as JSON and as WADL (PS3.18 8.9 and annex H)."""

from typing import Any, Final
from xml.etree import ElementTree

from apps.studies.query.attributes import ATTRIBUTES, Level, can_match

_DICOM = 'multipart/related; type="application/dicom"'
_PICTURES = ("image/jpeg", "image/png", "image/gif")
_SEARCH = ("application/dicom+json",)
_FRAMES = (
    'multipart/related; type="application/octet-stream"',
    'multipart/related; type="image/jpeg"',
    'multipart/related; type="image/jls"',
    'multipart/related; type="image/jp2"',
    'multipart/related; type="image/jphc"',
    'multipart/related; type="image/dicom-rle"',
)
_BULK = ('multipart/related; type="application/octet-stream"', "application/octet-stream", "application/pdf")
_INSTANCE = "studies/{study}/series/{series}/instances/{instance}"
# Address, method, transaction, media types of the answer.
RESOURCES: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("studies", "GET", "SearchForStudies", _SEARCH),
    ("series", "GET", "SearchForSeries", _SEARCH),
    ("instances", "GET", "SearchForInstances", _SEARCH),
    ("studies/{study}/series", "GET", "SearchForSeries", _SEARCH),
    ("studies/{study}/instances", "GET", "SearchForInstances", _SEARCH),
    ("studies/{study}/series/{series}/instances", "GET", "SearchForInstances", _SEARCH),
    ("studies", "POST", "StoreInstances", ("application/dicom+json", "application/dicom+xml")),
    ("studies/{study}", "POST", "StoreInstances", ("application/dicom+json", "application/dicom+xml")),
    ("studies/{study}", "GET", "RetrieveStudy", (_DICOM,)),
    ("studies/{study}/series/{series}", "GET", "RetrieveSeries", (_DICOM,)),
    (_INSTANCE, "GET", "RetrieveInstance", (_DICOM, "application/dicom")),
    ("studies/{study}/metadata", "GET", "RetrieveStudyMetadata", _SEARCH),
    ("studies/{study}/series/{series}/metadata", "GET", "RetrieveSeriesMetadata", _SEARCH),
    (f"{_INSTANCE}/metadata", "GET", "RetrieveInstanceMetadata", _SEARCH),
    (f"{_INSTANCE}/frames/{{frames}}", "GET", "RetrieveFrames", _FRAMES),
    (f"{_INSTANCE}/bulkdata/{{path}}", "GET", "RetrieveBulkdata", _BULK),
    ("studies/{study}/rendered", "GET", "RetrieveRenderedStudy", _PICTURES),
    ("studies/{study}/series/{series}/rendered", "GET", "RetrieveRenderedSeries", _PICTURES),
    (f"{_INSTANCE}/rendered", "GET", "RetrieveRenderedInstance", _PICTURES),
    (f"{_INSTANCE}/frames/{{frames}}/rendered", "GET", "RetrieveRenderedFrames", _PICTURES),
    ("studies/{study}/thumbnail", "GET", "RetrieveStudyThumbnail", _PICTURES),
    ("studies/{study}/series/{series}/thumbnail", "GET", "RetrieveSeriesThumbnail", _PICTURES),
    (f"{_INSTANCE}/thumbnail", "GET", "RetrieveInstanceThumbnail", _PICTURES),
    (f"{_INSTANCE}/frames/{{frames}}/thumbnail", "GET", "RetrieveFrameThumbnail", _PICTURES),
)
_SEARCHED: Final = {
    "SearchForStudies": Level.STUDY,
    "SearchForSeries": Level.SERIES,
    "SearchForInstances": Level.INSTANCE,
}


def query_parameters(transaction: str) -> list[str]:
    """The names of the query parameters that a transaction uses."""
    level = _SEARCHED.get(transaction)
    if level is not None:
        keys = [name for name, attribute in ATTRIBUTES.items() if can_match(attribute, level)]
        return [*keys, "includefield", "limit", "offset"]
    if "Rendered" in transaction:
        return ["accept", "quality", "viewport", "window"]
    return ["accept", "viewport"] if "Thumbnail" in transaction else []


def capabilities(base: str) -> dict[str, Any]:
    """The resources and transactions as JSON.

    Args:
        base: the address of the service, ending in a slash.
    """
    return {
        "base": base,
        "resources": [
            {
                "path": path,
                "method": method,
                "transaction": transaction,
                "media_types": list(media_types),
                "query_parameters": query_parameters(transaction),
            }
            for path, method, transaction, media_types in RESOURCES
        ],
    }


def wadl(base: str) -> bytes:
    """The same as a WADL document."""
    root = ElementTree.Element("application", {"xmlns": "http://wadl.dev.java.net/2009/02"})
    resources = ElementTree.SubElement(root, "resources", {"base": base})
    by_path: dict[str, ElementTree.Element] = {}
    for path, name, transaction, media_types in RESOURCES:
        if path not in by_path:
            by_path[path] = ElementTree.SubElement(resources, "resource", {"path": path})
        method = ElementTree.SubElement(by_path[path], "method", {"name": name, "id": f"{transaction}-{len(path)}"})
        request = ElementTree.SubElement(method, "request")
        for parameter in query_parameters(transaction):
            ElementTree.SubElement(request, "param", {"name": parameter, "style": "query"})
        response = ElementTree.SubElement(method, "response", {"status": "200"})
        for media_type in media_types:
            ElementTree.SubElement(response, "representation", {"mediaType": media_type})
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
