"""STOW-RS (PS3.18 10.5): check every part first, then store the accepted instances in one transaction of the tenant."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, RefusedByRuleError
from apps.core.metrics import INSTANCES
from apps.dicomweb.failure_reasons import failure_reason
from apps.dicomweb.file_meta import read_file_meta_uids
from apps.dicomweb.multipart import Part, RefusedPart
from apps.ingest.intake import InspectedFile, ingest_instances, inspect_file
from apps.registry import engine

SOURCE = "stow"


@dataclass(frozen=True)
class FailedInstance:
    """One part that is not stored; its UIDs are empty where they are not known."""

    code: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""

    @property
    def failure_reason(self) -> int:
        return failure_reason(self.code)


@dataclass(frozen=True)
class Accepted:
    """One instance that is stored, by this request or an earlier one; ``warnings`` are the codes about it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    warnings: tuple[str, ...] = ()
    in_conflict: bool = False


@dataclass
class StoreOutcome:
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[FailedInstance] = field(default_factory=list)


def store_parts(*, tenant_id: UUID, parts: Sequence[Part], study_instance_uid: str | None, by: Actor) -> StoreOutcome:
    """Store the parts that are valid DICOM instances; only of one study, where the request's path names it.

    Raises:
        OutOfSpaceError, UnavailableError: nothing of the request was stored.
    """
    outcome = StoreOutcome()
    inspected = []
    for part in parts:
        checked = _check(part, study_instance_uid)
        if isinstance(checked, FailedInstance):
            outcome.refused.append(checked)
        else:
            inspected.append(checked)
    # In a fixed order, so that concurrent requests lock rows in the same order and do not deadlock.
    inspected.sort(key=lambda each: (each.found.attributes.get("PatientID", ""), *_uids(each)))
    if inspected:
        stored = _ingest(tenant_id, inspected, by)
        outcome.accepted += stored.accepted
        outcome.refused += stored.refused
    return outcome


def _uids(inspected: InspectedFile) -> tuple[str, str]:
    return inspected.found.study_instance_uid, inspected.found.sop_instance_uid


def _check(part: Part, study_instance_uid: str | None) -> InspectedFile | FailedInstance:
    if isinstance(part, RefusedPart):
        return _count(FailedInstance(part.code))
    try:
        inspected = inspect_file(part)
    except InvalidInputError as error:
        return FailedInstance(error.code, *(read_file_meta_uids(part.path) or ()))
    found = inspected.found
    if found.kind != "dicom":
        return _count(FailedInstance("format-not-recognised"))
    if study_instance_uid not in (None, found.study_instance_uid):
        return _count(FailedInstance("study-does-not-match", found.sop_class_uid, found.sop_instance_uid))
    return inspected


def _count(refusal: FailedInstance) -> FailedInstance:
    INSTANCES.labels(SOURCE, "refused").inc()
    return refusal


def _ingest(tenant_id: UUID, inspected: Sequence[InspectedFile], by: Actor) -> StoreOutcome:
    outcome = StoreOutcome()
    stored = ingest_instances(inspected, tenant_id=tenant_id, by=by, source=SOURCE)
    for each, result in zip(inspected, stored, strict=True):
        found = each.found
        if isinstance(result, Exception):
            code = result.code if isinstance(result, ConflictError | RefusedByRuleError) else "not-stored"
            outcome.refused.append(_count(FailedInstance(code, found.sop_class_uid, found.sop_instance_uid)))
        else:
            outcome.accepted.append(_accepted(found, in_conflict=result.in_conflict))
    return outcome


def _accepted(found: engine.Preflight, *, in_conflict: bool) -> Accepted:
    return Accepted(
        found.study_instance_uid,
        found.series_instance_uid,
        found.sop_class_uid,
        found.sop_instance_uid,
        tuple(warning.code for warning in found.warnings),
        in_conflict,
    )
