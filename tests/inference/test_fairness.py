"""The order of the queue: by priority, tenants in turns; a claim stays fast behind a long queue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from django.db import connection, connections, transaction

from apps.audit.services import Actor
from apps.inference.models import InferenceJob, Priority
from apps.inference.requests import request_inference
from apps.inference.services import ClaimedJob, claim_jobs, waiting_in_turn
from apps.ingest.intake import ingest_instance, inspect_file
from apps.studies.models import Patient, Study
from apps.studies.spool import open_spool
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.results import version

__all__ = ["version"]


def send(hospital: Hospital, count: int, priority: int = Priority.ROUTINE) -> None:
    """Studies without films, queued one after the other as they come in."""
    with tenant_tx(hospital.tenant.id):
        patient = Patient.objects.create(is_identified=False)
        uids = (f"2.25.{hospital.tenant.slug == 'north':d}{Study.objects.count() + n}" for n in range(count))
        for study in Study.objects.bulk_create(Study(patient=patient, study_instance_uid=uid) for uid in uids):
            request_inference(study_id=study.pk, priority=priority)


def claim(version: Any, limit: int = 4) -> list[ClaimedJob]:
    return claim_jobs(limit=limit, version=version, worker="test")


def names(jobs: list[ClaimedJob], *hospitals: Hospital) -> str:
    slugs = {hospital.tenant.id: hospital.tenant.slug[0] for hospital in hospitals}
    return "".join(slugs[job.tenant_id] for job in jobs)


def test_one_film_does_not_wait_behind_another_hospital_s_many(version: Any, north: Hospital, south: Hospital) -> None:
    send(north, 30)
    claim(version), claim(version)
    send(south, 1)
    assert "s" in names(claim(version), north, south)


def test_a_hospital_that_comes_later_takes_turns_and_does_not_overtake(
    version: Any, north: Hospital, south: Hospital
) -> None:
    send(north, 30)
    for _ in range(4):
        claim(version)
    send(south, 30)
    assert sorted(names(claim(version, 12), north, south)) == sorted("n" * 6 + "s" * 6)
    assert sorted(names(claim(version, 8), north, south)) == sorted("n" * 4 + "s" * 4)


def test_a_hospital_s_own_films_keep_their_order(version: Any, north: Hospital) -> None:
    send(north, 12)
    jobs = [job.id for _ in range(3) for job in claim(version)]
    assert jobs == sorted(jobs)


def test_urgent_films_go_first(version: Any, north: Hospital, south: Hospital) -> None:
    send(north, 8)
    send(south, 2, Priority.STAT)
    send(south, 1, Priority.LOW)
    assert names(claim(version, 3), north, south) == "ssn"
    assert names(claim(version, 8), north, south) == "nnnnnnns"


def test_two_workers_never_take_the_same_job(version: Any, north: Hospital) -> None:
    send(north, 6)
    with transaction.atomic(using="dispatch"):
        held = [job.pk for job in waiting_in_turn(4, version)]
        other = connections["dispatch"].copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("select id from inference_inferencejob where state = 'queued' for update skip locked")
                assert not set(held) & {row[0] for row in cursor.fetchall()}
        finally:
            other.close()


@pytest.mark.parametrize(("keyword", "value"), [("RequestedProcedurePriority", "STAT"), ("StudyPriorityID", "HIGH")])
def test_an_urgent_image_makes_its_waiting_study_urgent(
    version: Any, north: Hospital, make_film: Callable[..., Path], store_film: Callable[..., Any], tmp_path: Path,
    keyword: str, value: str,
) -> None:  # fmt: skip
    store_film(north, seed=1, size=128, study_uid="2.25.7", patient_id="A")
    dataset = pydicom.dcmread(make_film(seed=2, size=128, study_uid="2.25.7", patient_id="A"))
    setattr(dataset, keyword, value)
    dataset.save_as(tmp_path / "urgent.dcm")
    with open_spool() as spool:
        film = inspect_file(spool.write((tmp_path / "urgent.dcm").read_bytes()))
        ingest_instance(film, tenant_id=north.tenant.id, by=Actor(name="test"), source="test")
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.get().priority == (Priority.STAT if value == "STAT" else Priority.HIGH)


def fill(hospital: Hospital) -> None:
    """3000 waiting jobs, with statistics for the planner."""
    with tenant_tx(hospital.tenant.id):
        patient = Patient.objects.create()
        studies = Study.objects.bulk_create(
            Study(patient=patient, study_instance_uid=f"2.25.{number}") for number in range(3000)
        )
        InferenceJob.objects.bulk_create(InferenceJob(study=study, turn=n) for n, study in enumerate(studies))
    with connections["owner"].cursor() as cursor:
        cursor.execute("analyze inference_inferencejob")


def test_a_claim_reads_one_index_however_many_wait(version: Any, north: Hospital, south: Hospital) -> None:
    fill(north)
    waiting = waiting_in_turn(16, version, {south.tenant.id: None})
    with transaction.atomic(using="dispatch"), connections["dispatch"].cursor() as cursor:
        cursor.execute(f"explain {waiting.raw_query}", waiting.params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "inference_job_waiting" in plan
    assert "Sort" not in plan


def test_a_turn_is_given_out_without_looking_at_all_that_wait(north: Hospital) -> None:
    fill(north)
    with tenant_tx(north.tenant.id), connection.cursor() as cursor:
        cursor.execute("select inference_next_turn(0::smallint)")
        assert cursor.fetchone() == (3000,)
        cursor.execute("explain (analyze, buffers, format json) select inference_next_turn(0::smallint)")
        plan = cursor.fetchone()[0][0]["Plan"]
    # The jobs themselves fill more than a hundred pages.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20, plan
