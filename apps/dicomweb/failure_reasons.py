"""The Failure Reasons of a Store Instances Response (PS3.18 table I.2-2) by our stable codes."""

from typing import Final

from apps.registry import engine

DUPLICATE_SOP_INSTANCE: Final = 0x0111
NOT_AUTHORISED: Final = 0x0124
PROCESSING_FAILURE: Final = 0x0110
DATA_SET_DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
# Of the codes that the DICOMweb modules raise; the preflight has its own.
_OWN: Final = {
    "duplicate-with-other-content": DUPLICATE_SOP_INSTANCE,
    "refused-by-rule": NOT_AUTHORISED,
    "study-does-not-match": DATA_SET_DOES_NOT_MATCH,
    "not-stored": PROCESSING_FAILURE,
    "part-type-not-supported": CANNOT_UNDERSTAND,
}
_MEANINGS: Final = {
    0x0110: "processing failure: send it again",
    0x0111: "duplicate SOP instance: other content is stored under this UID",
    0x0122: "SOP class not supported",
    0x0124: "not authorised: a rule of the hospital refuses the object",
    0xA700: "out of resources: the object is too large",
    0xA900: "the data set does not match its SOP class, its own description, or the study of the address",
    0xC000: "cannot understand: the object is damaged or not DICOM",
    0xC122: "transfer syntax not supported",
}


def failure_reason(code: str) -> int:
    """The Failure Reason (0008,1197) of a stable code."""
    return _OWN[code] if code in _OWN else engine.failure_reason(code)


def failure_table() -> list[tuple[int, str, list[str]]]:
    """Each reason with its meaning and the codes that have it, as the documentation lists them."""
    codes = sorted({*_OWN, *engine.INPUT_ERRORS})
    return [
        (reason, meaning, [code for code in codes if failure_reason(code) == reason])
        for reason, meaning in _MEANINGS.items()
    ]
