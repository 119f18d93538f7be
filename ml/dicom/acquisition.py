"""Distinguish an acquisition from an image that was made from other images, by the DICOM attributes alone."""

import re
import unicodedata
from collections.abc import Mapping

from ml.dicom.storage_classes import DX_FOR_PROCESSING, PICTURE_IMPLEMENTATION_CLASS, SECONDARY_CAPTURE

_OWN = re.compile(r"\bCHECXRAY\b")
# Names that other products give to their results or devices. Only derived images and captures are searched for them.
_RESULT = re.compile(
    r"\b(AI|CAD|CAD[EXT]|HEAT ?MAPS?|OVERLAYS?|ANNOTAT(ED|ION|IONS)|SALIENCY|GRAD ?CAM|ATTENTION MAPS?|"
    r"BOUNDING BOX(ES)?|ARTIFICIAL INTELLIGENCE|COMPUTER AIDED|SECOND READER|BONE SUPPRESS(ED|ION)|"
    r"SCREEN ?(SHOT|SAVE|CAPTURE)S?|KEY IMAGES?|LUNIT|INSIGHT CXR|QURE|QXR|ANNALISE|GLEAMER|CHESTVIEW|MILVUE|VUNO|"
    r"OXIPIT|CHESTLINK|RIVERAIN|CLEARREAD|AIDOC|DEEPTEK|INFERVISION|RADIOBOTICS|CAD4TB|BEHOLD|RAYSCAPE)\b"
)
_DESCRIBED_BY = (
    "SeriesDescription", "DerivationDescription", "ImageComments", "Manufacturer", "ManufacturerModelName",
)  # fmt: skip
# PS3.16 CID 7202: an image that was only compressed again, or processed for presentation, is still the acquisition.
_FAITHFUL_PURPOSES = {"121320", "121358"}


def plain_text(attributes: Mapping[str, str], keyword: str) -> str:
    """An attribute in capitals without accents; underscores, hyphens, slashes and carets are spaces."""
    plain = unicodedata.normalize("NFKD", attributes.get(keyword, "") or "")
    unaccented = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return re.sub(r"[_\-\^/]+", " ", unaccented).strip().upper()


def not_an_acquisition(attributes: Mapping[str, str], sop_class_uid: str | None) -> str:
    """The reason why an image is not an acquisition for presentation, or an empty string where it is one.

    A screen capture, an annotated copy and the result of another product are none, by their Image Type
    (PS3.3 C.7.6.1.1.2), their description or their source images. Nor is an image For Processing.
    A modality's DERIVED\\PRIMARY image For Presentation is an acquisition, and so is a picture that a user uploaded.

    Args:
        attributes: DICOM keyword -> text, as the preflight reads them.
        sop_class_uid: None or "" for a PNG or JPEG.

    Returns:
        A key of `ml.model.input_check.CODES`, or "".
    """
    captured = not sop_class_uid or sop_class_uid.startswith(SECONDARY_CAPTURE)
    reason = _made_from_others(attributes, captured)
    if reason:
        return reason
    is_for_processing = plain_text(attributes, "PresentationIntentType") == "FOR PROCESSING"
    return "for-processing" if is_for_processing or sop_class_uid == DX_FOR_PROCESSING else ""


def _made_from_others(attributes: Mapping[str, str], captured: bool) -> str:
    if plain_text(attributes, "ContentQualification") in ("RESEARCH", "SERVICE"):
        return "not-for-clinical-use"
    image_type = [value.strip() for value in attributes.get("ImageType", "").upper().split("\\")]
    if image_type[0] == "ORIGINAL":
        return ""
    if any(_OWN.search(plain_text(attributes, keyword)) for keyword in ("Manufacturer", "ManufacturerModelName")):
        return "own-object"
    if attributes.get("ImplementationClassUID") == PICTURE_IMPLEMENTATION_CLASS and captured:
        return ""
    if image_type[0] == "DERIVED" and "SECONDARY" in image_type[1:2]:
        return "derived-image"
    if image_type[0] != "DERIVED" and not captured:
        return ""
    if any(_RESULT.search(plain_text(attributes, keyword)) for keyword in _DESCRIBED_BY):
        return "derived-image"
    purposes = set(filter(None, attributes.get("PurposeOfReferenceCodeSequence", "").split("\\")))
    return "derived-image" if captured and purposes - _FAITHFUL_PURPOSES else ""
