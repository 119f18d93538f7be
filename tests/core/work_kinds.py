"""The kinds of work, each with the services that its worker calls; the work itself is left out."""

import functools
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np

from apps.core.work_queue import Queue, Work
from apps.deployment.models import Challenger, PreviewJob
from apps.deployment.services import PREVIEWS
from apps.evaluation.models import EvaluationJob
from apps.evaluation.services import EVALUATIONS, complete_evaluation
from apps.events.deliveries import SENDING
from apps.events.models import Delivery, WebhookDelivery, WebhookEndpoint
from apps.events.services import DELIVERIES, DeliveryOutcome, finish_delivery
from apps.inference import services
from apps.inference.leases import READINGS, SHADOW_READINGS
from apps.inference.models import InferenceJob, ShadowReading
from apps.inference.requests import request_inference
from apps.inference.retries import return_after_failure
from apps.inference.shadows import ShadowResult, claim_shadows, complete_shadows, refuse_shadow
from apps.registry.models import ModelVersion
from apps.results.models import ResultJob
from apps.results.queue import RESULTS
from apps.routing.models import Destination
from apps.studies.models import Instance, Patient, Series, Study
from apps.tenants.scope import tenant_tx
from apps.trials.preview_report import PairedProbabilities
from apps.trials.services import complete_preview
from ml.labels import LABELS
from tests.conftest import Hospital
from tests.evaluation import synthetic
from tests.registry.versions import registered

_PROBABILITIES = dict.fromkeys(LABELS, 0.1)
_report = functools.cache(synthetic.report)


class Kind:
    """One kind of work; ``hospital`` is the tenant that it belongs to or is done for."""

    queue: Queue[Any]

    def __init__(self, hospital: Hospital, version: ModelVersion) -> None:
        self.hospital, self.version = hospital, version
        self.numbers = count(10)

    def make(self, priority: int = 0) -> UUID:
        """Queue one more, and return its id."""
        with tenant_tx(self.hospital.tenant.pk):
            row = self.add(next(self.numbers))
            self.queue.kind._default_manager.filter(pk=row.pk).update(priority=priority)
        return row.pk

    def add(self, number: int) -> Work:
        raise NotImplementedError

    def claim(self, limit: int = 1, *, suspect: bool = False) -> Sequence[Any]:
        return self.queue.claim(worker="test", limit=limit)

    def complete(self, claim: Any) -> None:
        raise NotImplementedError

    def fail(self, claim: Any, code: str) -> None:
        self.queue.fail(job=claim, code=code, reason="It failed.")

    def reject(self, claim: Any) -> None:
        self.queue.reject(job=claim, code="unfit", reason="It cannot be done.")

    def row(self, pk: UUID) -> Any:
        with tenant_tx(self.hospital.tenant.pk):
            return self.queue.kind._default_manager.get(pk=pk)

    def change(self, **columns: Any) -> None:
        """Change all rows, as time or another process would."""
        with tenant_tx(self.hospital.tenant.pk):
            self.queue.kind._default_manager.update(**columns)


def study_of(number: int) -> Study:
    patient = Patient.objects.create(is_identified=False)
    return Study.objects.create(patient=patient, study_instance_uid=f"2.25.{number}")


class Readings(Kind):
    queue = READINGS

    def add(self, number: int) -> Work:
        study = study_of(number)
        series = Series.objects.create(study=study, series_instance_uid=f"{study.study_instance_uid}.1")
        Instance.objects.create(series=series, sop_instance_uid=f"{study.study_instance_uid}.1.1", size=1)
        request_inference(study_id=study.pk)
        return InferenceJob.objects.get(study=study)

    def claim(self, limit: int = 1, *, suspect: bool = False) -> Sequence[Any]:
        return services.claim_jobs(limit=limit, version=self.version, worker="test", suspect=suspect)

    def complete(self, claim: Any) -> None:
        instance = Instance.objects.get(series__study=claim.study_id)
        cams = np.zeros((len(LABELS), 7, 7), np.float16)
        result = services.JobResult(claim, instance, 1, _PROBABILITIES, cams)
        services.complete_jobs(results=[result], version=self.version)

    def fail(self, claim: Any, code: str) -> None:
        return_after_failure(job=claim, code=code, detail="It failed.")

    def reject(self, claim: Any) -> None:
        services.reject_job(job=claim, code="unfit", reason="It cannot be done.", instances_seen=1)


class ShadowReadings(Kind):
    queue = SHADOW_READINGS

    @functools.cached_property
    def trial(self) -> Challenger:
        return Challenger.objects.create(
            model_version=registered(4), against=self.version, mode="shadow", keeps_points=True, actor="test"
        )

    def add(self, number: int) -> Work:
        study = study_of(number)
        job = InferenceJob.objects.create(study=study, state="complete", model_version=self.version)
        return ShadowReading.objects.create(job=job, challenger=self.trial)

    def claim(self, limit: int = 1, *, suspect: bool = False) -> Sequence[Any]:
        versions = {self.trial.pk: self.trial.model_version_id}
        return claim_shadows(limit=limit, versions=versions, worker="test", suspect=suspect)

    def complete(self, claim: Any) -> None:
        complete_shadows(results=[ShadowResult(claim, _PROBABILITIES)], version=self.trial.model_version)

    def fail(self, claim: Any, code: str) -> None:
        return_after_failure(job=claim, code=code, detail="It failed.")

    def reject(self, claim: Any) -> None:
        refuse_shadow(claim=claim, code="unfit", reason="It cannot be done.")


class Evaluations(Kind):
    queue = EVALUATIONS

    def add(self, number: int) -> Work:
        return EvaluationJob.objects.create(evaluation_set=synthetic.a_set(f"set-{number}"), model_version=self.version)

    def complete(self, claim: Any) -> None:
        complete_evaluation(job=claim, report=_report(1.0))


class Previews(Kind):
    queue = PREVIEWS

    def add(self, number: int) -> Work:
        return PreviewJob.objects.create(
            for_tenant=self.hospital.tenant, model_version=registered(number), last=1, actor="test"
        )

    def complete(self, claim: Any) -> None:
        nothing: dict[str, list[float]] = {label: [] for label in LABELS}
        read = PairedProbabilities(current=nothing, candidate=nothing, studies=0, refused=0)
        complete_preview(job=claim, from_version=self.version, probabilities=read)


class Deliveries(Kind):
    queue = DELIVERIES

    def add(self, number: int) -> Work:
        endpoint = WebhookEndpoint.objects.create(url=f"https://example.org/{number}")
        return WebhookDelivery.objects.create(endpoint=endpoint)

    def claim(self, limit: int = 1, *, suspect: bool = False) -> Sequence[Any]:
        claimed = (DELIVERIES.claim_one(worker="test") for _ in range(limit))
        return [delivery for delivery in claimed if delivery is not None]

    def complete(self, claim: Any) -> None:
        finish_delivery(delivery=claim, outcome=DeliveryOutcome(200))


class Sendings(Kind):
    """To a destination each, because one delivery at a time goes to a destination."""

    queue = SENDING

    def add(self, number: int) -> Work:
        destination = Destination.objects.create(
            kind=Destination.Kind.WEBHOOK, name=f"hook {number}", url=f"https://example.org/{number}"
        )
        return Delivery.objects.create(destination=destination, content="test")

    def complete(self, claim: Any) -> None:
        SENDING.complete(job=claim)


class Results(Kind):
    queue = RESULTS

    def add(self, number: int) -> Work:
        return ResultJob.objects.create(study=study_of(number))

    def complete(self, claim: Any) -> None:
        RESULTS.complete(job=claim)


KINDS = (Readings, ShadowReadings, Evaluations, Previews, Deliveries, Sendings, Results)
