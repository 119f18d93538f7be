"""The rows that lists read follow whatever happens to a study, in the same transaction."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import User
from apps.audit.services import user_actor
from apps.core.work_queue import JobState
from apps.inference.leases import READINGS
from apps.inference.models import InferenceJob, Priority
from apps.inference.requests import request_inference
from apps.inference.services import claim_jobs, reject_job
from apps.inference.withdrawal import restore_study, withdraw_study
from apps.reading.models import URGENCY, WAITING, WorklistEntry
from apps.reading.services import change_reading_policy
from apps.registry import engine
from apps.reports.services import sign_report
from apps.studies.models import DemographicsConflict, Study
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reading.entries import differences


@pytest.fixture(autouse=True)
def _rows_agree(db: None) -> Iterator[None]:
    yield
    assert differences() == []


def member(hospital: Hospital, user: User) -> dict[str, Any]:
    return {"user": user, "membership": Membership.objects.get(user=user)}


def entry_of(study: Study) -> WorklistEntry:
    return WorklistEntry.objects.select_related("job").get(study=study)


def test_from_arrival_to_signature_and_beyond(
    north: Hospital, store_film: Callable[..., Any], finish: Callable[..., InferenceJob]
) -> None:
    study = store_film(north, seed=1, patient_name="DOE^Jane=山田^花子=やまだ^はなこ", patient_id="A-1").study
    with tenant_tx(north.tenant.id):
        entry = entry_of(study)
        assert (entry.status, entry.state, entry.flagged) == (WAITING, JobState.QUEUED, [])
        assert entry.search_text == "doe^jane 山田^花子 やまだ^はなこ a-1 "
    finish(north, Infiltration=0.9, Pneumothorax=0.4)
    with tenant_tx(north.tenant.id):
        entry = entry_of(study)
        assert (entry.status, entry.flagged) == (JobState.COMPLETE, ["Infiltration", "Pneumothorax"])
        assert (entry.urgent_label, entry.urgency) == ("Pneumothorax", 1)
        assert entry.probabilities is not None
        assert dict(zip(engine.LABELS, entry.probabilities, strict=True))["Infiltration"] == 0.9
        assert entry.top_probability == 0.9
        assert entry.margin == pytest.approx(0.4418, abs=1e-3), "the difference of the logits of 0.4 and 0.3"
        sign_report(study=study, impression="Pneumothorax.", agree_rest=True, **member(north, north.radiologist))
        entry = entry_of(study)
        assert (entry.report_status, entry.urgent_label, entry.has_new_images) == ("final", "", False)
        uid = study.study_instance_uid
    store_film(north, seed=2, patient_name="DOE^Jane", patient_id="A-1", study_uid=uid)
    assert differences() == []
    with tenant_tx(north.tenant.id):
        assert entry_of(study).has_new_images
        withdraw_study(study_id=study.pk, reason="Sent twice.", **member(north, north.radiologist))
        assert entry_of(study).is_withdrawn
        restore_study(study_id=study.pk, **member(north, north.radiologist))
        assert not entry_of(study).is_withdrawn


def test_a_refusal_a_failure_and_another_reading(north: Hospital, store_film: Callable[..., Any], version: Any) -> None:
    refused, failed = (store_film(north, seed=seed, patient_name=name).study for seed, name in ((1, "A"), (2, "B")))
    for job in claim_jobs(limit=2, version=version, worker="test"):
        if job.study_id == refused.pk:
            with tenant_tx(north.tenant.id):
                reject_job(job=job, code="lateral-view", reason="A lateral film.", instances_seen=1)
        else:
            # The dispatcher's role ends it, which sees no patient and no finding.
            InferenceJob.objects.using("dispatch").filter(pk=job.id).update(attempts=99)
            READINGS.fail(job=job, code="unreadable", reason="It cannot be decoded.")
    assert differences() == []
    with tenant_tx(north.tenant.id):
        assert entry_of(refused).status == JobState.REJECTED
        assert entry_of(failed).status == JobState.FAILED
        request_inference(study_id=failed.pk, priority=Priority.STAT)
        assert (entry_of(failed).status, entry_of(failed).requested_priority) == (WAITING, Priority.STAT)


def test_a_conflict_and_a_new_order_of_urgency(north: Hospital, read_study: Callable[..., Study]) -> None:
    studies = [
        read_study(north, {"seed": seed, "patient_name": name, "patient_id": "A-1"}, Mass=0.5, Effusion=0.5)
        for seed, name in ((1, "DOE^Jane"), (2, "ROE^Ann"))
    ]
    with tenant_tx(north.tenant.id):
        assert all(entry_of(study).in_conflict for study in studies), "two persons under one ID"
        assert entry_of(studies[0]).urgent_label == "Effusion"
        order = ["Mass", *[label for label in URGENCY if label != "Mass"]]
        administrator = Membership.objects.get(user=north.admin)
        change_reading_policy(membership=administrator, by=user_actor(north.admin.pk), urgency=order)
        assert entry_of(studies[0]).urgent_label == "Mass"
        DemographicsConflict.objects.update(settled=studies[0].received)
        assert not any(entry_of(study).in_conflict for study in studies)


def test_the_lists_of_labels_in_sql_are_those_of_the_models(servers: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select prosrc from pg_proc where proname = 'reading_expected_entry'")
        ((source,),) = cursor.fetchall()
    places, urgency = re.findall(r"'\{([A-Za-z_,]+)\}'::text\[\]", source)
    assert places.split(",") == list(engine.LABELS)
    assert urgency.split(",") == list(URGENCY)
