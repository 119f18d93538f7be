"""The rows of ``tests.roles.table`` for DICOMweb: its addresses differ only in their kind."""

# anonymous, technologist, radiologist, admin, operator, key store, key read, key predict, other key, other member
_OPEN = "200 200 200 200 200 200 200 200 200 200"
_SEARCH = "401 200 200 200 401 403 403 403 200 200"
_STORE = "401 403 403 403 401 415 403 403 415 403"
_OF_A_STUDY = "401 200 200 200 401 403 403 403 404 404"
_NOTHING = "404 404 404 404 404 404 404 404 404 404"

_STUDY = "/dicom-web/studies/{uid}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_BELOW_A_STUDY = {
    "study": _STUDY,
    "series-of-study": f"{_STUDY}/series",
    "instances-of-study": f"{_STUDY}/instances",
    "study-metadata": f"{_STUDY}/metadata",
    "study-rendered": f"{_STUDY}/rendered",
    "study-thumbnail": f"{_STUDY}/thumbnail",
    "series": _SERIES,
    "instances-of-series": f"{_SERIES}/instances",
    "series-metadata": f"{_SERIES}/metadata",
    "series-rendered": f"{_SERIES}/rendered",
    "series-thumbnail": f"{_SERIES}/thumbnail",
    "instance": _INSTANCE,
    "instance-metadata": f"{_INSTANCE}/metadata",
    "instance-rendered": f"{_INSTANCE}/rendered",
    "instance-thumbnail": f"{_INSTANCE}/thumbnail",
    "bulkdata": f"{_INSTANCE}/bulkdata/7FE00010",
    "frames": f"{_INSTANCE}/frames/1",
    "frames-rendered": f"{_INSTANCE}/frames/1/rendered",
    "frames-thumbnail": f"{_INSTANCE}/frames/1/thumbnail",
}
DICOMWEB_ROWS = [
    ("dicomweb:capabilities", "GET", "/dicom-web/", _OPEN),
    ("dicomweb:studies", "GET", "/dicom-web/studies", _SEARCH),
    ("dicomweb:search-series", "GET", "/dicom-web/series", _SEARCH),
    ("dicomweb:search-instances", "GET", "/dicom-web/instances", _SEARCH),
    ("dicomweb:studies", "POST", "/dicom-web/studies", _STORE),
    ("dicomweb:study", "POST", _STUDY, _STORE),
    *((f"dicomweb:{name}", "GET", address, _OF_A_STUDY) for name, address in _BELOW_A_STUDY.items()),
    ("dicomweb:absent", "GET", "/dicom-web/other", _NOTHING),
]
