"""Result objects are instances of their study: peers find and get them, and who must not see findings does not."""

import io
from collections.abc import Callable
from typing import Any

from django.core.management import call_command
from django.test import Client

from apps.inference.models import InferenceJob
from apps.reading.models import AiDisplay, ReadingPolicy
from apps.studies.identity import demographics_key
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.result_objects.conftest import objects, want
from tests.result_objects.test_combinations import sign

UID = "00080018"


def found(client: Client, study: Study) -> set[str]:
    answer = client.get(f"/dicom-web/studies/{study.study_instance_uid}/instances")
    return {each[UID]["Value"][0] for each in answer.json()}


def test_peers_find_and_get_them(north: Hospital, south: Hospital, read_study: Callable[..., Study]) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    sign(north, study)
    made = objects(north, study)
    client = Client(headers=north.bearer)

    assert {each.row.sop_instance_uid for each in made.values()} < found(client, study)
    for each in made.values():
        address = f"/dicom-web/studies/{study.study_instance_uid}/series/{each.row.series_instance_uid}/instances"
        got = client.get(f"{address}/{each.row.sop_instance_uid}", headers={"accept": "application/dicom"})
        assert b"".join(got.streaming_content) == each.data
    assert Client(headers=south.bearer).get(f"{address}/{each.row.sop_instance_uid}").status_code == 404


def test_they_change_nothing_else_of_the_study(north: Hospital, read_study: Callable[..., Study]) -> None:
    want(north)
    study = read_study(north, Effusion=0.9)
    sign(north, study)
    objects(north, study)
    answer = Client(headers=north.bearer).get(f"/api/v1/studies/{study.study_instance_uid}/").json()

    assert (answer["status"], answer["report_status"]) == ("complete", "final")
    assert not answer["new_images_since_report"]
    assert not answer["demographics_conflict"]
    with tenant_tx(north.tenant.pk):
        assert InferenceJob.objects.count() == 1
        assert Instance.objects.count() == 4


def test_who_must_not_see_findings_finds_none(north: Hospital, read_study: Callable[..., Study], sign_in: Any) -> None:
    want(north, secondary_capture=True, structured_report=True)
    study = read_study(north, Effusion=0.9)
    own = {each.row.sop_instance_uid for each in objects(north, study).values()}
    technologist, radiologist = sign_in(north, north.technologist), sign_in(north, north.radiologist)

    assert own < found(radiologist, study)
    assert not own & found(technologist, study)
    for client in (technologist, radiologist):
        assert client.get(f"/studies/{study.pk}/film.png", {"image": "2"}).status_code == 404, "no image of the page"
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(ai_display=AiDisplay.BLIND_FIRST)
    assert not own & found(radiologist, study)


def name(study: Study, patient_name: str) -> None:
    """Give a study and its image this name."""
    named = {"patient_name": patient_name, "demographics_key": demographics_key(patient_name, None, "")}
    Study.objects.filter(pk=study.pk).update(**named)
    Instance.objects.filter(series__study=study).update(**named)


def test_objects_from_before_become_instances(
    north: Hospital, south: Hospital, read_study: Callable[..., Study]
) -> None:
    want(north, structured_report=True)
    want(south, structured_report=True)
    study, corrected, of_south = read_study(north, Effusion=0.9), read_study(north, {"seed": 2}), read_study(south)
    with tenant_tx(north.tenant.pk):
        name(corrected, "Doe^John")
    for hospital, each in ((north, study), (north, corrected), (south, of_south)):
        objects(hospital, each)
    with tenant_tx(south.tenant.pk):
        kept = Instance.objects.count()
        Instance.objects.filter(series__modality="SR").delete()
    with tenant_tx(north.tenant.pk):
        Instance.objects.filter(series__modality="SR").delete()
        name(corrected, "Smith^Jane")

    def run() -> tuple[str, str]:
        out, problems = io.StringIO(), io.StringIO()
        call_command("index_result_objects", stdout=out, stderr=problems)
        return out.getvalue(), problems.getvalue()

    shown = run()
    assert shown[0].splitlines() == ["north  1 indexed, 1 left out", "south  1 indexed, 0 left out"]
    assert f"study {corrected.pk}" in shown[1]
    assert len(found(Client(headers=north.bearer), study)) == 2
    assert len(found(Client(headers=north.bearer), corrected)) == 1
    with tenant_tx(south.tenant.pk):
        assert Instance.objects.count() == kept
    assert run()[0].splitlines() == ["north  0 indexed, 1 left out"], "It can be repeated."
