"""Validates resources against FHIR R4: structure by fhir.resources, required value sets by the table below.

The R4B classes of fhir.resources are used: for the resources of this product R4B is R4. The library does not check the
value sets whose binding is *required*.
"""

from typing import Any

from fhir.resources.R4B import get_fhir_model_class

# https://hl7.org/fhir/R4/valueset-<name>.html, for the elements that the product writes.
_PUBLICATION = {"draft", "active", "retired", "unknown"}
_PARAMETER_TYPES = {"number", "date", "string", "token", "reference", "composite", "quantity", "uri", "special"}
_INTERACTIONS = {
    "read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type",
}  # fmt: skip
_ISSUE_TYPES = {
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired", "forbidden",
    "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long",
    "code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store",
    "exception", "timeout", "incomplete", "throttled", "informational",
}  # fmt: skip
_REPORT_STATES = {
    "registered", "partial", "preliminary", "final", "amended", "corrected", "appended", "cancelled",
    "entered-in-error", "unknown",
}  # fmt: skip
_OBSERVATION_STATES = {
    "registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown",
}  # fmt: skip
REQUIRED = {
    "ImagingStudy.status": {"registered", "available", "cancelled", "entered-in-error", "unknown"},
    "DiagnosticReport.status": _REPORT_STATES,
    "Observation.status": _OBSERVATION_STATES,
    "Device.status": {"active", "inactive", "entered-in-error", "unknown"},
    "Device.deviceName.type": {
        "udi-label-name", "user-friendly-name", "patient-reported-name", "manufacturer-name", "model-name", "other",
    },
    "Patient.gender": {"male", "female", "other", "unknown"},
    "Endpoint.status": {"active", "suspended", "error", "off", "entered-in-error", "test"},
    "*.identifier.use": {"usual", "official", "temp", "secondary", "old"},
    "Patient.name.use": {"usual", "official", "temp", "nickname", "anonymous", "old", "maiden"},
    "*.text.status": {"generated", "extensions", "additional", "empty"},
    "Bundle.type": {"searchset"},
    "Bundle.entry.search.mode": {"match", "include", "outcome"},
    "OperationOutcome.issue.severity": {"fatal", "error", "warning", "information"},
    "OperationOutcome.issue.code": _ISSUE_TYPES,
    "CapabilityStatement.status": _PUBLICATION,
    "CapabilityStatement.kind": {"instance", "capability", "requirements"},
    "CapabilityStatement.fhirVersion": {"4.0.1"},
    "CapabilityStatement.rest.mode": {"client", "server"},
    "CapabilityStatement.rest.resource.versioning": {"no-version", "versioned", "versioned-update"},
    "CapabilityStatement.rest.resource.interaction.code": _INTERACTIONS,
    "CapabilityStatement.rest.resource.searchParam.type": _PARAMETER_TYPES,
}  # fmt: skip
# Bound, and to be found in each resource of the kind: without it the table would hold nothing.
_MUST_HAVE = {"ImagingStudy": "status", "DiagnosticReport": "status", "Observation": "status", "Bundle": "type"}


def validate(resource: dict[str, Any]) -> dict[str, Any]:
    """Check a resource with all that it contains, and return it."""
    kind = resource["resourceType"]
    get_fhir_model_class(kind).model_validate(resource)
    if kind in _MUST_HAVE:
        assert resource[_MUST_HAVE[kind]]
    _check_codes(resource, [kind])
    _check_no_empty(resource)
    ids = [each["id"] for each in resource.get("contained", ())]
    assert len(ids) == len(set(ids))
    for entry in resource.get("entry", ()):
        validate(entry["resource"])
    return resource


def _check_codes(value: Any, path: list[str]) -> None:
    if isinstance(value, list):
        for each in value:
            _check_codes(each, path)
    elif isinstance(value, dict):
        here = [value["resourceType"]] if "resourceType" in value else path
        for name, each in value.items():
            _check_codes(each, [*here, name])
    else:
        general = [".".join(["*", *path[-2:]])]
        for name in [".".join(path), *general]:
            assert name not in REQUIRED or value in REQUIRED[name], (path, value)


def _check_no_empty(value: Any) -> None:
    """FHIR JSON has no null, no empty string, list or object (R4, 2.6.2)."""
    if isinstance(value, dict | list):
        assert value
        for each in value.values() if isinstance(value, dict) else value:
            _check_no_empty(each)
    else:
        assert value is not None
        assert value != ""
