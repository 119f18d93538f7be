"""The Store Instances Response Module (PS3.18 annex I.2) as DICOM JSON (annex F) or Native DICOM Model (PS3.19 A.1)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from xml.etree import ElementTree

from rest_framework.renderers import JSONRenderer

from apps.dicomweb.stow import Accepted, FailedInstance, StoreOutcome

Dataset = dict[str, dict[str, Any]]

# PS3.18 table I.2-2. The first one is for an instance whose patient contradicts the stored study: the study keeps its
# patient, which is a coercion of the instance's data elements.
COERCION_OF_DATA_ELEMENTS: Final = 0xB000
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xB007
KEYWORDS: Final = {
    "00081150": "ReferencedSOPClassUID",
    "00081155": "ReferencedSOPInstanceUID",
    "00081190": "RetrieveURL",
    "00081196": "WarningReason",
    "00081197": "FailureReason",
    "00081198": "FailedSOPSequence",
    "00081199": "ReferencedSOPSequence",
    "0008119A": "OtherFailuresSequence",
}
_NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"


def response_status(outcome: StoreOutcome) -> HTTPStatus:
    """The HTTP status of the response (PS3.18 table 10.5.3-1)."""
    if not outcome.refused:
        in_conflict = any(accepted.in_conflict for accepted in outcome.accepted)
        return HTTPStatus.ACCEPTED if in_conflict else HTTPStatus.OK
    return HTTPStatus.ACCEPTED if outcome.accepted else HTTPStatus.CONFLICT


def warning_header(outcome: StoreOutcome) -> str | None:
    """The Warning header with the stable codes; the response module has only numeric reasons."""
    codes = sorted({refusal.code for refusal in outcome.refused})
    warnings = [f'299 checxray "Not stored: {", ".join(codes)}"'] if codes else []
    odd = {code for accepted in outcome.accepted for code in accepted.warnings}
    if any(accepted.in_conflict for accepted in outcome.accepted):
        odd.add("demographics-conflict")
    if odd:
        warnings.append(f'299 checxray "Stored with a warning: {", ".join(sorted(odd))}"')
    return ", ".join(warnings) or None


def build_response(outcome: StoreOutcome, base: str) -> Dataset:
    """The response module, with the attributes of PS3.18 table I.1-1 and no others.

    Args:
        base: the address of the service, for RetrieveURL.
    """
    dataset: Dataset = {}
    named = [refusal for refusal in outcome.refused if refusal.sop_instance_uid]
    unnamed = [refusal for refusal in outcome.refused if not refusal.sop_instance_uid]
    studies = {accepted.study_instance_uid for accepted in outcome.accepted}
    if len(studies) == 1:
        dataset["00081190"] = _value("UR", f"{base}/studies/{studies.pop()}")
    for tag, items in (
        ("00081198", [_failed(refusal) for refusal in named]),
        ("00081199", [_referenced(accepted, base) for accepted in outcome.accepted]),
        ("0008119A", [_reason(refusal) for refusal in unnamed]),
    ):
        if items:
            dataset[tag] = {"vr": "SQ", "Value": items}
    return dataset


def _referenced(accepted: Accepted, base: str) -> Dataset:
    item = _named(accepted.sop_class_uid, accepted.sop_instance_uid)
    address = f"{base}/studies/{accepted.study_instance_uid}/series/{accepted.series_instance_uid}/instances/"
    # An image that names another patient may be held, and cannot be retrieved before a person has decided.
    item["00081190"] = {"vr": "UR"} if accepted.in_conflict else _value("UR", address + accepted.sop_instance_uid)
    if accepted.in_conflict:
        item["00081196"] = _value("US", COERCION_OF_DATA_ELEMENTS)
    elif accepted.warnings:
        item["00081196"] = _value("US", DATA_SET_DOES_NOT_MATCH_SOP_CLASS)
    return item


def _failed(refusal: FailedInstance) -> Dataset:
    return _named(refusal.sop_class_uid, refusal.sop_instance_uid) | _reason(refusal)


def _named(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    return {"00081150": _value("UI", sop_class_uid), "00081155": _value("UI", sop_instance_uid)}


def _reason(refusal: FailedInstance) -> Dataset:
    return {"00081197": _value("US", refusal.failure_reason)}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


class DicomJsonRenderer(JSONRenderer):
    media_type = "application/dicom+json"
    format = "dicom-json"


class DicomXmlRenderer(JSONRenderer):
    """Renders data sets as XML; a problem document stays JSON, with that Content-Type."""

    media_type = "application/dicom+xml"
    format = "dicom-xml"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None or (renderer_context or {})["response"].exception:
            return super().render(data, accepted_media_type, renderer_context)
        root = ElementTree.Element("NativeDicomModel", {"xmlns": _NAMESPACE, "xml:space": "preserve"})
        _append(root, data)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _append(parent: ElementTree.Element, dataset: Dataset) -> None:
    for tag, element in sorted(dataset.items()):
        attribute = ElementTree.SubElement(
            parent, "DicomAttribute", {"tag": tag, "vr": element["vr"], "keyword": KEYWORDS[tag]}
        )
        _append_values(attribute, element["vr"], element.get("Value", ()))


def _append_values(attribute: ElementTree.Element, vr: str, values: Sequence[Any]) -> None:
    for number, value in enumerate(values, start=1):
        if vr == "SQ":
            _append(ElementTree.SubElement(attribute, "Item", {"number": str(number)}), value)
        else:
            ElementTree.SubElement(attribute, "Value", {"number": str(number)}).text = str(value)
