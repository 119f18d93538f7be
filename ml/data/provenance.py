"""Store in a manifest which patients a version has seen, as short hashes, so that an evaluation can check it."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml.data.folder import source_kind

__all__ = ["SEEN_PATIENTS", "lists_sha256", "patient_fingerprint", "seen_patients", "source_kind"]

SEEN_PATIENTS = "seen_patients"
_BYTES = 6


def lists_sha256(lists: Mapping[str, Sequence[str]]) -> str:
    """Hash of named lists of images, in their order; identifies the data of a training without a validation list."""
    return hashlib.sha256("\n\n".join("\n".join(lists[name]) for name in sorted(lists)).encode()).hexdigest()


def _digest(patient: str) -> bytes:
    return hashlib.sha256(patient.encode()).digest()[:_BYTES]


def patient_fingerprint(patients: Iterable[str], kind: str) -> dict[str, Any]:
    """The patients as sorted 6-byte SHA-256 prefixes in base64: 8 characters each, so a manifest can hold 28,000.

    `kind` (`source_kind`) is stored too, because two hospitals can both have a patient 1. Against NIH's 2,797 test
    patients the chance of one false match is 3e-7. The hashes do not hide identities: a reader who can guess a
    patient's identifier can look it up.
    """
    digests = sorted({_digest(p) for p in patients})
    return {"kind": kind, "count": len(digests), "digests": base64.b64encode(b"".join(digests)).decode()}


def seen_patients(data: Mapping[str, Any], patients: Iterable[str], kind: str) -> set[str] | None:
    """Those of `patients` that a manifest's `data` lists as seen in training or model selection.

    Returns:
        None if the manifest lists no patients, or those of another kind.

    Raises:
        ValueError: the list is damaged.
    """
    listed = data.get(SEEN_PATIENTS)
    if listed is None:
        return None
    try:
        if listed["kind"] != kind:
            return None
        packed = base64.b64decode(listed["digests"], validate=True)
        whole = len(packed) == _BYTES * listed["count"]
    except (binascii.Error, TypeError, KeyError) as error:
        raise ValueError(
            f"The manifest's {SEEN_PATIENTS} is not a list of patients. Copy the artifact again."
        ) from error
    if not whole:
        raise ValueError(f"The manifest's {SEEN_PATIENTS} is cut off. Copy the artifact again.")
    seen = {packed[i : i + _BYTES] for i in range(0, len(packed), _BYTES)}
    return {patient for patient in patients if _digest(patient) in seen}
