"""The patient's earlier studies on the study page: whose they are, what they show, and to whom."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.reading.models import AiDisplay, ReadingPolicy
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital

JOHN = {"patient_name": "Doe^John", "patient_id": "P-1", "birth_date": "19500101"}


def read_on(read_study: Callable[..., Study], hospital: Hospital, day: str, **probabilities: float) -> Study:
    seed = int(day) % 97
    return read_study(hospital, {**JOHN, "seed": seed, "study_date": day, "size": 256}, **probabilities)


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


def priors(client: Client, study: Study) -> str:
    page = client.get(f"/studies/{study.pk}/").text
    return page[page.index('data-part="priors"') : page.index('data-part="image-rejections"')]


def test_earlier_studies_with_what_each_version_said(
    client: Client, north: Hospital, south: Hospital, version: Any, read_study: Callable[..., Study]
) -> None:
    """Newest first, collapsed; neither later studies nor those of another patient or hospital."""
    old = read_on(read_study, north, "20240110", Effusion=0.2)
    middle = read_on(read_study, north, "20240305", Effusion=0.9)
    new = read_on(read_study, north, "20240401", Effusion=0.6)
    read_study(north, {"seed": 9, "size": 256, "patient_id": "P-2", "study_date": "20230101"})
    elsewhere = read_on(read_study, south, "20240201", Effusion=0.7)
    shown = priors(client, new)
    assert "2 earlier studies" in shown
    assert str(elsewhere.pk) not in shown
    assert "70.0" not in shown, "another hospital has a patient of the same ID, name and birth date"
    assert '<details id="priors">' in shown, "collapsed"
    assert shown.index(str(middle.pk)) < shown.index(str(old.pk))
    assert f"/studies/{old.pk}/film.png?image=1" in shown
    row = shown[shown.index('<th scope="row">Effusion') :]
    row = row[: row.index("</tr>")]
    assert row.index("20.0") < row.index("90.0") < row.index("60.0")
    assert shown.count(str(version)) == 3
    assert "not comparable" not in shown, "one version read them all"
    assert "1 earlier study" in priors(client, middle)
    assert "earlier stud" not in priors(client, old)


def test_no_earlier_studies_where_the_identity_is_uncertain(
    client: Client, north: Hospital, version: Any, read_study: Callable[..., Study]
) -> None:
    read_on(read_study, north, "20240110")
    new = read_on(read_study, north, "20240305")
    assert "1 earlier study" in priors(client, new)
    # Another person under the same PatientID: it is unknown whose the studies are.
    read_study(north, {**JOHN, "patient_name": "Smith^Jane", "seed": 5, "study_date": "20240201", "size": 256})
    assert "earlier stud" not in priors(client, new)
    # A PatientID that is a placeholder identifies no person.
    unknown = {"patient_id": "UNKNOWN", "size": 256}
    read_study(north, {**unknown, "seed": 6, "study_date": "20240101"})
    assert "earlier stud" not in priors(client, read_study(north, {**unknown, "seed": 7, "study_date": "20240301"}))


def test_the_timeline_is_for_readers_who_may_see_findings(
    client: Client, north: Hospital, version: Any, read_study: Callable[..., Study], sign_in: Callable[..., Client]
) -> None:
    read_on(read_study, north, "20240110", Effusion=0.9)
    new = read_on(read_study, north, "20240305", Effusion=0.9)
    assert 'id="timeline"' in priors(client, new)
    technologist = priors(sign_in(north, north.technologist), new)
    assert "1 earlier study" in technologist
    assert 'id="timeline"' not in technologist
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.update_or_create(defaults={"ai_display": AiDisplay.BLIND_FIRST})
    assert 'id="timeline"' not in priors(client, new), "a blind reader sees nothing of the AI"
