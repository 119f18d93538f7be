"""The settings page, the list on the study page, and an object as a file."""

from collections.abc import Callable
from typing import Any

from apps.core.work_queue import JobState
from apps.reading.models import AiDisplay, ReadingPolicy
from apps.results.models import ResultJob
from apps.results.selectors import result_policy
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.result_objects.conftest import objects, want

SR = "structured-report"


def test_an_administrator_chooses_the_kinds_and_tries_again(
    north: Hospital, sign_in: Any, read_study: Callable[..., Study]
) -> None:
    admin = sign_in(north, north.admin)
    study = read_study(north, Effusion=0.9)
    assert "checked" not in admin.get("/settings/results/").text

    assert admin.post("/settings/results/", {"structured_report": "on"}).status_code == 302

    with tenant_tx(north.tenant.pk):
        assert result_policy().kinds == [SR]
        failed = ResultJob.objects.create(study=study, state=JobState.FAILED, reason="Its worker died.")
    page = admin.get("/settings/results/").text
    assert page.count("checked") == 1
    assert "Its worker died." in page
    assert admin.post(f"/settings/results/{failed.pk}/retry/").status_code == 302
    assert "One study waits for its objects." in admin.get("/settings/results/").text
    assert admin.post(f"/settings/results/{failed.pk}/retry/").status_code == 409
    assert set(objects(north, study)) == {SR}


def test_who_sees_the_objects_of_a_study(
    north: Hospital, south: Hospital, sign_in: Any, read_study: Callable[..., Study]
) -> None:
    want(north, structured_report=True)
    study = read_study(north, Effusion=0.9)
    made = objects(north, study)[SR]
    page, file = f"/studies/{study.pk}/", f"/studies/{study.pk}/results/{made.row.pk}.dcm"
    expected = {"radiologist": (True, 200), "admin": (True, 403), "technologist": (False, 403)}
    for role, (is_listed, status) in expected.items():
        browser = sign_in(north, getattr(north, role))
        shown = browser.get(page).text
        assert ("Results as DICOM" in shown, file in shown) == (is_listed, status == 200)
        assert browser.get(file).status_code == status
    radiologist = sign_in(north, north.radiologist)
    answer = radiologist.get(file)
    assert (answer.content, answer["Content-Type"]) == (made.data, "application/dicom")
    assert sign_in(south, south.radiologist).get(file).status_code == 404
    with tenant_tx(north.tenant.pk):
        ReadingPolicy.objects.create(ai_display=AiDisplay.BLIND_FIRST)
    assert "Results as DICOM" not in radiologist.get(page).text
    assert radiologist.get(file).status_code == 404
