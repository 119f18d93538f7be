"""The rows of ``tests.roles.table`` for FHIR: only keys with the scope ``fhir.read`` read it."""

from apps.fhir.kinds import KINDS

# anonymous, technologist, radiologist, admin, operator, key store, key read, key predict, other key, other member
_OPEN = "200 200 200 200 200 200 200 200 200 200"
_SEARCH = "401 403 403 403 401 403 403 403 200 403"
_OF_A_STUDY = "401 403 403 403 401 403 403 403 404 403"
_NOTHING = "404 404 404 404 404 404 404 404 404 404"

_EXAMPLES = {
    "ImagingStudy": "{study}",
    "DiagnosticReport": "{study}",
    "Observation": "0190a5c0-0000-7000-8000-000000000000",
    "Device": "{version}",
}
FHIR_ROWS = [
    ("fhir:base", "GET", "/fhir/", _OPEN),
    ("fhir:metadata", "GET", "/fhir/metadata", _OPEN),
    *((f"fhir:{kind}-search", "GET", f"/fhir/{kind}", _SEARCH) for kind in KINDS),
    *((f"fhir:{kind}-posted-search", "POST", f"/fhir/{kind}/_search", _SEARCH) for kind in KINDS),
    *(
        (f"fhir:{kind}", "GET", f"/fhir/{kind}/{example}", _SEARCH if kind == "Device" else _OF_A_STUDY)
        for kind, example in _EXAMPLES.items()
    ),
    ("fhir:Binary", "GET", "/fhir/Binary/{study}.0", _OF_A_STUDY),
    ("fhir:absent", "GET", "/fhir/other", _NOTHING),
]
