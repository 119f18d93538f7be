"""Events of a hospital, and the webhooks that its administrators set up."""

import json
from collections.abc import Callable
from typing import Any

from django.db import transaction
from standardwebhooks.webhooks import Webhook

from apps.core.identifiers import uuid7
from apps.deployment.services import activate
from apps.events.models import TenantEvent
from apps.events.tenant_events import publish_to_tenant
from apps.inference.events import publish_missed_failures
from apps.inference.models import InferenceJob
from apps.inference.retries import return_after_failure
from apps.inference.services import claim_jobs
from apps.reports.services import sign_report
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.core.receiving import Receiver, receiver
from tests.delivery.acting import BY, add, allow_loopback, deliveries, send
from tests.registry.versions import registered
from tests.result_objects.conftest import member


def sign(hospital: Hospital, study: Study, **more: Any) -> None:
    membership = member(hospital, hospital.radiologist)
    with tenant_tx(hospital.tenant.pk):
        given = {"impression": "Read.", "agree_rest": True, **more}
        sign_report(study=study, user=hospital.radiologist, membership=membership, **given)


def fail_reading(version: Any) -> None:
    """Let the reading that waits fail at every attempt."""
    for _ in range(3):
        InferenceJob.objects.using("dispatch").update(run_after=None)
        (claimed,) = claim_jobs(limit=1, version=version, worker="test")
        return_after_failure(job=claimed, code="source-unreadable")


def test_each_event_reaches_the_webhooks_of_its_tenant_without_patient_data(
    north: Hospital, south: Hospital, there: Receiver, read_study: Callable[..., Study], store_film: Any, version: Any
) -> None:
    allow_loopback(north, south)
    with receiver() as other:
        _, secret = add(north, "webhook", there.url, list(TenantEvent.Type.values))
        add(south, "webhook", other.url, list(TenantEvent.Type.values))
        study = read_study(north, Effusion=0.9)
        sign(north, study)
        sign(north, study, impression="Read again.", amends=1, reason="A typing error.")
        activate(version=registered(7), by=BY)
        store_film(north, seed=2)
        fail_reading(version)
        send()
        got = [Webhook(secret).verify(body, headers) for headers, body in there.got]
        assert [each["type"] for each in got] == [
            "study.received", "result.ready", "report.signed", "report.amended", "model.activated", "study.received",
            "result.failed",
        ]  # fmt: skip
        assert [json.loads(body)["type"] for _, body in other.got] == ["model.activated"]
    of_study = {each["type"]: each["data"] for each in got[:4]}
    assert {each["study"] for each in of_study.values()} == {str(study.pk)}
    assert of_study["result.ready"] == {
        "scope": "north", "study": str(study.pk), "job": of_study["result.ready"]["job"], "state": "complete",
        **version.identity,
    }  # fmt: skip
    assert (of_study["report.amended"]["number"], of_study["report.amended"]["is_addendum"]) == (2, False)
    assert got[6]["data"]["code"] == "source-unreadable"
    sent = b"".join(body for _, body in there.got).decode()
    with tenant_tx(north.tenant.pk):
        study.refresh_from_db()
        for value in (study.study_instance_uid, study.patient.patient_id, study.patient_name, "radiologist"):
            assert value
            assert value not in sent
    publish_missed_failures()
    assert len([each for each in deliveries(north) if each.content == "result.failed"]) == 1, "Published once."


def test_an_event_and_its_delivery_end_with_the_transaction_of_the_change(north: Hospital, there: Receiver) -> None:
    allow_loopback(north)
    add(north, "webhook", there.url, ["study.received"])
    with tenant_tx(north.tenant.pk):
        publish_to_tenant(kind=TenantEvent.Type.STUDY_RECEIVED, data={uuid7(): {}})
        transaction.set_rollback(True)
    assert deliveries(north) == []
    with tenant_tx(north.tenant.pk):
        publish_to_tenant(kind=TenantEvent.Type.REPORT_SIGNED, data={uuid7(): {}})
        assert not TenantEvent.objects.exists(), "No webhook wants it."
