"""The one entry point for DICOM instances: check the bytes, ask the tenant's rules, store them, queue their study."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError

from apps.audit.services import Actor
from apps.core.errors import ConflictError, InvalidInputError, RefusedByRuleError
from apps.core.metrics import INSTANCES
from apps.core.transactions import again_after_deadlock
from apps.core.work_queue import JobState
from apps.events.models import TenantEvent
from apps.events.tenant_events import publish_to_tenant
from apps.inference.image_choice import candidate_images, choose_image
from apps.inference.models import InferenceJob
from apps.inference.rejections import record_rejection_note
from apps.inference.requests import request_again_if_failed, request_inference, request_reading_of_new_image
from apps.ingest.decisions import count_refused, decide, policy_of, priority_by, refusal_of
from apps.ingest.duplicates import resolve_duplicate
from apps.registry import engine
from apps.routing.rule_models import QuietTime
from apps.routing.rule_services import note_match
from apps.routing.rules import Action, Decision
from apps.studies.models import Instance
from apps.studies.selectors import is_in_conflict
from apps.studies.services import (
    DUPLICATE,
    StoredInstance,
    drop_object,
    follow_read_instances,
    note_restored,
    put_instance,
    store_instance,
)
from apps.studies.spool import SpooledFile
from apps.tenants.scope import tenant_tx

Outcome = StoredInstance | ConflictError | RefusedByRuleError | DatabaseError


@dataclass(frozen=True)
class InspectedFile:
    """A spooled file that the preflight accepted."""

    spooled: SpooledFile
    found: engine.Preflight


def inspect_file(spooled: SpooledFile) -> InspectedFile:
    """Check the bytes of a file, without decoding its pixels and without a transaction.

    Raises:
        InvalidInputError: ``code`` is one of ``ml.errors.CODES``.
    """
    try:
        return InspectedFile(spooled, engine.inspect(spooled.path))
    except engine.InputRejected as error:
        INSTANCES.labels("preflight", "refused").inc()
        raise InvalidInputError(error.detail, error.code) from error


@dataclass(frozen=True)
class _Arrival:
    """An inspected file, and what the tenant's rules say about it."""

    spooled: SpooledFile
    found: engine.Preflight
    decision: Decision
    quiet: QuietTime

    @property
    def priority(self) -> int:
        return priority_by(self.decision, self.found)


def ingest_instance(
    inspected: InspectedFile, *, tenant_id: UUID, by: Actor, source: str, calling_ae_title: str = ""
) -> StoredInstance:
    """Store an inspected instance for a tenant and queue its study: first its object, then all rows or none.

    Raises:
        ConflictError, RefusedByRuleError, OutOfSpaceError, UnavailableError
    """
    (outcome,) = ingest_instances(
        [inspected], tenant_id=tenant_id, by=by, source=source, calling_ae_title=calling_ae_title
    )
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def ingest_instances(
    inspected: Sequence[InspectedFile], *, tenant_id: UUID, by: Actor, source: str, calling_ae_title: str = ""
) -> list[Outcome]:
    """Store instances for a tenant and queue their studies, in one transaction.

    What a rule of the tenant refuses is counted, and nothing of it is written. All other objects are written before
    the transaction, and duplicates are compared after it: while it is open, it waits for nothing but the database.

    Args:
        calling_ae_title: of the peer that sends by C-STORE, for the rules.

    Returns:
        For each instance the stored instance, or the error.

    Raises:
        OutOfSpaceError, UnavailableError: send all of these again; some may be stored already.
    """
    policy = policy_of(tenant_id)
    arrivals = [
        _Arrival(each.spooled, each.found, decide(policy, each.found, calling_ae_title), policy.quiet_time)
        for each in inspected
    ]
    accepted = [each for each in arrivals if not each.decision.is_refused]
    stored = iter(_store(accepted, tenant_id, by))
    outcomes = [
        refusal_of(each.decision.rule) if each.decision.is_refused and each.decision.rule else next(stored)
        for each in arrivals
    ]
    count_refused([each.decision for each in arrivals], tenant_id=tenant_id, by=by)
    for outcome in outcomes:
        if isinstance(outcome, StoredInstance):
            INSTANCES.labels(source, "stored" if outcome.is_new else "known").inc()
    return outcomes


def _store(arrivals: Sequence[_Arrival], tenant_id: UUID, by: Actor) -> list[Outcome]:
    written = [put_instance(tenant_id=tenant_id, spooled=each.spooled) for each in arrivals]

    def stored() -> list[Outcome]:
        # One instance needs no transaction around its own.
        with tenant_tx(tenant_id) if len(arrivals) > 1 else nullcontext():
            return [
                _store_and_queue(each, tenant_id, by, is_written=is_written)
                for each, is_written in zip(arrivals, written, strict=True)
            ]

    outcomes = again_after_deadlock(stored)
    for number, (each, outcome) in enumerate(zip(arrivals, outcomes, strict=True)):
        if isinstance(outcome, ConflictError) and outcome.code == DUPLICATE:
            outcomes[number] = _resolved(each, outcome, tenant_id, by)
        if isinstance(outcome, Exception) and written[number]:
            # No row refers to this object, unless a duplicate has just replaced a lost object.
            drop_object(tenant_id=tenant_id, sha256=each.spooled.sha256)
    return outcomes


def _store_and_queue(arrival: _Arrival, tenant_id: UUID, by: Actor, *, is_written: bool) -> Outcome:
    try:
        try:
            with tenant_tx(tenant_id):
                return _queued(arrival, by, is_written=is_written)
        except IntegrityError:
            # Another request has stored the same rows meanwhile: now they are known.
            with tenant_tx(tenant_id):
                return _queued(arrival, by, is_written=is_written)
    except (ConflictError, DataError, IntegrityError) as error:
        return error


def _queued(arrival: _Arrival, by: Actor, *, is_written: bool) -> StoredInstance:
    """Store the rows and queue the study of an image. A document queues nothing, but may reject images."""
    found, decision = arrival.found, arrival.decision
    stored = store_instance(spooled=arrival.spooled, found=found, by=by)
    if stored.is_new_study:
        publish_to_tenant(kind=TenantEvent.Type.STUDY_RECEIVED, data={stored.study_id: {"study": str(stored.study_id)}})
    if stored.is_new and decision.rule is not None:
        instance = Instance.objects.only("pk").get(sop_instance_uid=found.sop_instance_uid)
        note_match(instance_id=instance.pk, decision=decision)
        stored = replace(stored, is_stored_only=found.is_image and decision.rule.action == Action.STORE)
    if not found.is_image:
        if stored.is_new and found.rejection is not None and found.rejection.instances:
            document = Instance.objects.get(sop_instance_uid=found.sop_instance_uid)
            # A document that names another patient is held until a user decides, as an image is.
            if not document.is_held:
                record_rejection_note(study_id=stored.study_id, document=document, note=found.rejection, by=by)
        return stored
    if stored.is_new and stored.in_conflict:
        _follow_image_to_read(stored.study_id, by)
    if stored.is_new:
        request_reading_of_new_image(study_id=stored.study_id, priority=arrival.priority, quiet=arrival.quiet)
    elif is_written:
        # The object of a known instance was missing or damaged, and a result from it may be wrong.
        note_restored(found.sop_instance_uid)
        request_inference(study_id=stored.study_id, priority=arrival.priority)
    else:
        request_again_if_failed(study_id=stored.study_id)
    return stored


def _follow_image_to_read(study_id: UUID, by: Actor) -> None:
    """Give a study that has no result yet the demographics of the image that would be read."""
    if InferenceJob.objects.filter(study=study_id, state=JobState.COMPLETE).exists():
        return
    choice = choose_image(candidate_images(study_id))
    if choice.instance is not None:
        follow_read_instances(instance_ids=[choice.instance.pk], by=by)


def _resolved(arrival: _Arrival, conflict: ConflictError, tenant_id: UUID, by: Actor) -> StoredInstance | ConflictError:
    """Treat a duplicate that is the same instance, sent by another system, like one with the same bytes."""
    resolved = resolve_duplicate(spooled=arrival.spooled, found=arrival.found, tenant_id=tenant_id, by=by)
    if resolved is None:
        return conflict
    study_id, is_restored = resolved
    with tenant_tx(tenant_id):
        if is_restored:
            request_inference(study_id=study_id, priority=arrival.priority)
        else:
            request_again_if_failed(study_id=study_id)
        in_conflict = is_in_conflict(study_id)
    return StoredInstance(study_id, is_new=False, in_conflict=in_conflict)
