"""The exception for a refused file, and the stable codes that name the reason."""

from collections.abc import Mapping
from types import MappingProxyType


class InputRejected(Exception):
    """A file was refused.

    `code` is one of `CODES` and never changes its meaning. `detail` explains to the sender what to do. It contains no
    value of the file and no path, so it may be logged and shown.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


CODES: Mapping[str, str] = MappingProxyType(
    {
        "file-empty": "The file has no bytes.",
        "file-too-large": "The file is larger than the limit for one object.",
        "format-not-recognised": "The file is neither DICOM (PS3.10), PNG nor JPEG by its first bytes.",
        "file-meta-invalid": "The DICOM File Meta Information (group 0002) is damaged or contradicts the data set.",
        "transfer-syntax-not-supported": "The transfer syntax is not one that this service decodes.",
        "sop-class-not-supported": "The object is no CR, DX or Secondary Capture image and no document of their study.",
        "malformed": "The data set breaks the encoding rules of PS3.5.",
        "truncated": "The file ends before what it announces.",
        "too-deep": "Sequences are nested deeper than any radiograph needs.",
        "too-many-elements": "The data set has more elements than any radiograph needs.",
        "too-many-items": "The data set has more sequence items or fragments than any radiograph needs.",
        "metadata-too-large": "The data set without its pixels is larger than any radiograph needs.",
        "deflate-invalid": "The deflated data set can't be inflated.",
        "inflate-too-large": "The deflated data set grows beyond the limit.",
        "uid-missing": "A mandatory UID (SOP Class, Study, Series or SOP Instance) is absent or empty.",
        "uid-invalid": "A UID breaks PS3.5 section 9.1.",
        "image-size-invalid": "Rows or Columns are absent, zero or beyond the limits.",
        "too-many-frames": "The object has more frames than a radiograph may have, or an unreadable number of them.",
        "pixel-format-not-supported": "The pixel description is absent, contradictory or not supported.",
        "pixel-data-missing": "The object has no pixel data.",
        "pixel-data-short": "The pixel data is shorter than Rows and Columns require.",
        "codestream-invalid": "The compressed pixel data is damaged or not what the transfer syntax announces.",
        "codestream-mismatch": "The compressed pixel data contradicts the image's own description.",
        "modality-lut-invalid": "The Modality LUT or rescale values can't be applied.",
        "decode-failed": "The pixels can't be decoded.",
        "decode-timeout": "Decoding took longer than its limit and was stopped.",
        "decode-memory": "Decoding needed more memory than its limit and was stopped.",
        "decode-crashed": "The decoding process died on this file.",
        "source-unreadable": "The stored file could not be opened: not the file's fault, may be tried again.",
        "decode-reply-invalid": "The decoding process sent a reply that is not valid.",
        "decoder-ended": "The decoding process was ended from outside: not the file's fault, may be tried again.",
        "sandbox-unavailable": "No decoding process could be started: not the file's fault, may be tried again.",
    }
)

RETRYABLE: frozenset[str] = frozenset({"source-unreadable", "sandbox-unavailable", "decoder-ended"})
"""Codes whose cause is the machine and not the file, so that the same file may succeed later."""

_NOT_SUPPORTED = 0x0122
_OUT_OF_RESOURCES = 0xA700
_DOES_NOT_MATCH_SOP_CLASS = 0xA900
_CANNOT_UNDERSTAND = 0xC000
_TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
_PROCESSING_FAILURE = 0x0110

_FAILURE_REASONS: Mapping[str, int] = MappingProxyType(
    {
        "sop-class-not-supported": _NOT_SUPPORTED,
        "transfer-syntax-not-supported": _TRANSFER_SYNTAX_NOT_SUPPORTED,
        "file-too-large": _OUT_OF_RESOURCES,
        "uid-missing": _DOES_NOT_MATCH_SOP_CLASS,
        "image-size-invalid": _DOES_NOT_MATCH_SOP_CLASS,
        "too-many-frames": _DOES_NOT_MATCH_SOP_CLASS,
        "pixel-format-not-supported": _DOES_NOT_MATCH_SOP_CLASS,
        "pixel-data-missing": _DOES_NOT_MATCH_SOP_CLASS,
        "pixel-data-short": _DOES_NOT_MATCH_SOP_CLASS,
        "codestream-mismatch": _DOES_NOT_MATCH_SOP_CLASS,
        "source-unreadable": _PROCESSING_FAILURE,
        "sandbox-unavailable": _PROCESSING_FAILURE,
        "decoder-ended": _PROCESSING_FAILURE,
    }
)


def failure_reason(code: str) -> int:
    """Failure Reason (0008,1197) of a Store Instances Response for a code of `CODES` (PS3.18 annex I.2, table I.2-2).

    A code that is not listed gives C000H, "cannot understand".
    """
    return _FAILURE_REASONS.get(code, _CANNOT_UNDERSTAND)
