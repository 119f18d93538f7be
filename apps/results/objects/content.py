"""What the objects of one reading say, and the UIDs that follow from it."""

import datetime
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

_UID_ROOT: Final = uuid.UUID("0d7a2c0e-58f5-4c53-8d6a-3a4b1f6c9e21")
WRITER: Final = 1
"""Increased when the same content gives another object, so that objects are created anew at the next occasion."""

PRODUCT: Final = "Checxray"


@dataclass(frozen=True)
class SourceImage:
    """The image that was read; rows and columns as stored."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True)
class Algorithm:
    """The model version; ``device_uid`` changes with every version (IHE AIR 6.5.3.1)."""

    name: str
    version: str
    device_uid: str


@dataclass(frozen=True)
class CalledFinding:
    """One finding of the reading.

    Attributes:
        probability, threshold: 0 to 1; no threshold: the version has no operating point, so it is not called.
        verdict: "agree", "disagree" or empty: what the reader who signed decided.
        region: (left, top, right, bottom) in pixels of the stored image, where a map is validated as a localisation.
    """

    label: str
    probability: float
    threshold: float | None
    positive: bool
    uncertain: bool
    verdict: str = ""
    region: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class AddedFinding:
    """A finding that a reader added to the signed report; ``region`` as of `CalledFinding`, on ``image``."""

    name: str
    label: str
    region: tuple[float, float, float, float] | None = None
    image: SourceImage | None = None


@dataclass(frozen=True)
class Signature:
    """A signed version of the report: who signed it and what it says beside the findings."""

    number: int
    signer: str
    organization: str
    at: datetime.datetime
    impression: str
    reason: str
    addenda: tuple[str, ...] = ()
    added: tuple[AddedFinding, ...] = ()


@dataclass(frozen=True)
class ResultContent:
    """Everything that the objects of one reading say.

    Attributes:
        patient_study: DICOM keyword -> value, of the patient and the study as the product holds them now.
        reading: identifies the reading in UIDs and tracking identifiers, tenant included.
        source: None where no image was chosen.
        at: when the reading ended, in the tenant's time zone.
        threshold_any, probability_any: the study-level score; None for a version without one.
        refusal: why there is no result: a stable code and a text; empty where there is one.
        remarks: what else the reader must know, such as warnings about the image.
        notice: the intended-use notice; empty for a marketed device.
        is_recalibrated: the findings' probabilities are on the tenant's scale; the study-level score never is.
    """

    patient_study: Mapping[str, str]
    reading: str
    source: SourceImage | None
    algorithm: Algorithm
    at: datetime.datetime
    findings: tuple[CalledFinding, ...]
    probability_any: float | None
    threshold_any: float | None
    refusal: tuple[str, str] | tuple[()]
    remarks: tuple[str, ...]
    is_partial: bool
    signature: Signature | None
    manufacturer: str
    notice: str
    is_recalibrated: bool = False

    @property
    def positives(self) -> list[CalledFinding]:
        return [finding for finding in self.findings if finding.positive]

    @property
    def images(self) -> list[SourceImage]:
        """The images that the objects refer to: the one that was read, and those that the reader marked."""
        added = self.signature.added if self.signature else ()
        return list(dict.fromkeys(each for each in (self.source, *(mark.image for mark in added)) if each is not None))

    @property
    def changed_at(self) -> datetime.datetime:
        return self.signature.at if self.signature else self.at

    @property
    def study_instance_uid(self) -> str:
        return self.patient_study["StudyInstanceUID"]


@dataclass(frozen=True)
class Predecessor:
    """The object that a new one replaces."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class ObjectIdentity:
    sop_instance_uid: str
    series_instance_uid: str
    number: int
    predecessor: Predecessor | None = None


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends only on the parts."""
    return f"2.25.{uuid.uuid5(_UID_ROOT, chr(31).join(str(part) for part in parts)).int}"


def content_key(kind: str, content: ResultContent, *more: object) -> str:
    """A digest of what an object says: the same key means that a new object would say the same."""
    said = json.dumps([WRITER, kind, asdict(content), *more], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


IMPLEMENTATION_CLASS_UID: Final = derived_uid("implementation", "results")
IMPLEMENTATION_VERSION_NAME: Final = f"CHECXRAY_R{WRITER}"
PRODUCT_DEVICE_UID: Final = derived_uid("device", PRODUCT)
"""The device of an object about a study that no model version has read."""
