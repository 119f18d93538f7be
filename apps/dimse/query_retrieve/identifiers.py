"""Identifiers of requests and responses (PS3.4 C.2.2, C.4.1.1.3): their level, keys and values."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from typing import Any, Final

from pydicom import config
from pydicom.charset import default_encoding, python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from apps.dimse.contexts import PATIENT_ROOT
from apps.dimse.requests import IDENTIFIER_MISMATCH, RefusedError
from apps.studies.query.attributes import ATTRIBUTES, find_attribute

UTF_8: Final = "ISO_IR 192"
_LEVEL, _CHARACTER_SET = 0x00080052, 0x00080005
# Parts of every response that a request may name.
_ALWAYS_SUPPORTED: Final = frozenset({"RetrieveAETitle", "InstanceAvailability"})
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_KEYS: Final = 100


class QueryLevel(StrEnum):
    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


# The unique key of each level (PS3.4 C.6.1.1 and C.6.2.1).
UNIQUE_KEYS: Final = {
    QueryLevel.PATIENT: "PatientID",
    QueryLevel.STUDY: "StudyInstanceUID",
    QueryLevel.SERIES: "SeriesInstanceUID",
    QueryLevel.IMAGE: "SOPInstanceUID",
}


def levels_of(sop_class_uid: str) -> list[QueryLevel]:
    """The levels of the information model of a SOP class, the highest first."""
    levels = list(QueryLevel)
    return levels if sop_class_uid in PATIENT_ROOT else levels[1:]


@dataclass(frozen=True)
class Identifier:
    """The identifier of a request.

    Attributes:
        keys: values by keyword, as DICOM text; several values have ``\\`` between them. Empty: only asked for.
        has_unsupported: whether it has other attributes too.
        character_set: the Specific Character Set of the request.
    """

    level: QueryLevel
    keys: Mapping[str, str]
    has_unsupported: bool = False
    character_set: str = ""
    parents: list[QueryLevel] = field(default_factory=list)

    def require_parents(self) -> None:
        """Check the hierarchical search method (PS3.4 C.4.1.3.1): the unique key of each higher level, single valued.

        Raises:
            RefusedError: one is missing, or has several values.
        """
        for level in self.parents:
            key = UNIQUE_KEYS[level]
            value = self.keys.get(key, "")
            if not value or any(character in value for character in "\\*?"):
                raise RefusedError(IDENTIFIER_MISMATCH, f"{self.level} level needs one {key} (or relational queries)")

    def uids(self, level: QueryLevel) -> list[str]:
        """The values of a level's unique key.

        Raises:
            RefusedError: one is no UID.
        """
        values = [each.strip() for each in self.keys.get(UNIQUE_KEYS[level], "").split("\\") if each.strip()]
        if level is not QueryLevel.PATIENT and not all(len(each) <= 64 and _UID.fullmatch(each) for each in values):
            raise RefusedError(IDENTIFIER_MISMATCH, f"{UNIQUE_KEYS[level]} must be a UID or a list of UIDs")
        return values


def read_identifier(data: BytesIO | None, syntax: UID, sop_class_uid: str) -> Identifier:
    """Read the identifier of a request.

    Raises:
        RefusedError: it cannot be read, or its level is not one of the SOP class.
    """
    try:
        dataset = decode(data or BytesIO(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        level_text = str(dataset[_LEVEL].value).strip() if _LEVEL in dataset else ""
        character_set = _text(dataset[_CHARACTER_SET]) if _CHARACTER_SET in dataset else ""
        elements = [each for each in dataset if each.tag not in (_LEVEL, _CHARACTER_SET) and each.tag.element]
        values = [(each, _text(each)) for each in elements if each.VR != "SQ"]
    except Exception as error:
        # pydicom raises many kinds of errors for bytes of unknown origin; their texts may repeat values.
        raise RefusedError(IDENTIFIER_MISMATCH, "The identifier cannot be read.") from error
    levels = levels_of(sop_class_uid)
    if level_text not in levels:
        raise RefusedError(IDENTIFIER_MISMATCH, f"QueryRetrieveLevel must be {', '.join(levels)}.")
    if len(elements) > _MOST_KEYS:
        raise RefusedError(IDENTIFIER_MISMATCH, f"An identifier may have {_MOST_KEYS} keys at most.")
    level = QueryLevel(level_text)
    keys, known = {}, 0
    for element, text in values:
        attribute = find_attribute(f"{element.tag:08X}")
        if attribute is not None:
            keys[attribute.keyword] = text
        known += attribute is not None or element.keyword in _ALWAYS_SUPPORTED
    return Identifier(level, keys, known < len(elements), character_set, levels[: levels.index(level)])


def response_dataset(
    values: Mapping[str, Any], identifier: Identifier, *, ae_title: str, keywords: Iterable[str]
) -> Dataset:
    """The identifier of one match: the attributes that were asked for, and where to retrieve it from.

    The text has the character set of the request where that can hold it, otherwise UTF-8.

    Args:
        values: by keyword, as `apps.studies.query.search.search` returns them.
    """
    dataset = Dataset()
    dataset.QueryRetrieveLevel = identifier.level.value
    dataset.RetrieveAETitle = ae_title
    dataset.InstanceAvailability = "ONLINE"
    is_ascii = True
    for keyword in keywords:
        attribute = ATTRIBUTES[keyword]
        value = values.get(keyword)
        is_ascii = is_ascii and str(value).isascii()
        dataset[Tag(int(attribute.tag, 16))] = _element(attribute.tag, attribute.vr, value)
    if not is_ascii:
        dataset.SpecificCharacterSet = _character_set(identifier.character_set, values.values())
    return dataset


def failed_list(uids: list[str], syntax: UID) -> BytesIO:
    """The identifier of a response with the instances whose sub-operations failed (PS3.4 C.4.2.1.4.2)."""
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = uids
    return BytesIO(encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated) or b"")


def _text(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    values = list(value) if isinstance(value, MultiValue | list) else [value]
    return "\\".join(str(each) for each in values).strip(" \0")


def _element(tag: str, vr: str, value: Any) -> DataElement:
    try:
        return DataElement(Tag(int(tag, 16)), vr, value, validation_mode=config.IGNORE)
    except (TypeError, ValueError, OverflowError):
        # What the sender of the image wrote is no number.
        return DataElement(Tag(int(tag, 16)), vr, None)


def _character_set(asked: str, values: Iterable[Any]) -> str:
    encoding = python_encoding.get(asked)
    if encoding is None or encoding == default_encoding:
        return UTF_8
    try:
        for value in values:
            str(value).encode(encoding)
    except (UnicodeError, LookupError):
        return UTF_8
    return asked
