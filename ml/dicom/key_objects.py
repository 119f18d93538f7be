"""Read Key Object Selection documents (PS3.3 A.35.4) that reject instances (IHE Imaging Object Change Management)."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ml.dicom.parser import DicomIndex

REJECTION_CODES: Final = MappingProxyType(
    {
        "113001": "Rejected for Quality Reasons",
        "113037": "Rejected for Patient Safety Reasons",
        "113038": "Incorrect Modality Worklist Entry",
        "113039": "Data Retention Policy Expired",
    }
)
"""Document titles that reject (PS3.16 CID 7011, IHE RAD TF-3 4.105), of the coding scheme DCM."""

_TITLE, _EVIDENCE, _CONTENT = 0x0040A043, 0x0040A375, 0x0040A730
_CODE_VALUE, _SCHEME = 0x00080100, 0x00080102
_REFERENCED_SOP_SEQUENCE, _REFERENCED_SOP_INSTANCE = 0x00081199, 0x00081155
_STUDY_INSTANCE = 0x0020000D
_LONGEST_VALUE = 66


@dataclass(frozen=True)
class RejectionNote:
    """`code` is a key of REJECTION_CODES; `instances` are the rejected SOP Instance UIDs of the note's own study."""

    code: str
    instances: tuple[str, ...]


def read_rejection(index: DicomIndex, study_instance_uid: str) -> RejectionNote | None:
    """Read which instances a Key Object Selection document rejects.

    An instance is rejected where the evidence lists it under this study (PS3.3 C.17.6.2.1). Where the content refers to
    instances, it must refer to this one too. A document about other studies rejects nothing here.

    Returns:
        None for a document with another purpose.
    """
    title = {path[-1]: text for _, path, text in _values(index) if len(path) == 2 and path[0] == _TITLE}
    if title.get(_SCHEME) != "DCM" or title.get(_CODE_VALUE) not in REJECTION_CODES:
        return None
    evidence = _evidence_of(index, study_instance_uid)
    selected = {
        text
        for _, path, text in _values(index)
        if path[0] == _CONTENT and path[-2:] == (_REFERENCED_SOP_SEQUENCE, _REFERENCED_SOP_INSTANCE)
    }
    instances = [each for each in evidence if not selected or each in selected]
    return RejectionNote(title[_CODE_VALUE], tuple(dict.fromkeys(instances)))


def _evidence_of(index: DicomIndex, study_instance_uid: str) -> list[str]:
    studies: dict[int, str] = {}
    references: list[tuple[int, str]] = []
    for item, path, text in _values(index):
        if path == (_EVIDENCE, _STUDY_INSTANCE):
            studies[item] = text
        elif path[0] == _EVIDENCE and path[-2:] == (_REFERENCED_SOP_SEQUENCE, _REFERENCED_SOP_INSTANCE):
            references.append((item, text))
    return [text for item, text in references if text and studies.get(item) == study_instance_uid]


def _values(index: DicomIndex) -> Iterator[tuple[int, tuple[int, ...], str]]:
    for item, path, element in index.nested:
        raw = index.buffer[element.start : element.start + min(element.length, _LONGEST_VALUE)]
        yield item, path, raw.decode("latin-1").strip(" \0")
