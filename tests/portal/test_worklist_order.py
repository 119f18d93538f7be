"""The order "most urgent first", the study that comes next, and what people do on the worklist."""

import datetime
import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from apps.accounts.models import User
from apps.inference.models import InferenceJob, Priority
from apps.inference.services import claim_jobs, reject_job
from apps.portal.worklist_page import PAGE_SIZE
from apps.reading.models import ReadingPolicy, SavedView, WorklistEntry
from apps.reports.services import sign_report
from apps.studies.models import Patient, Study
from apps.tenants.models import Membership, Role
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member
from tests.conftest import PASSWORD, Hospital
from tests.portal.test_worklist import names

BLIND = {"ai_display": "blind-first"}


@pytest.fixture
def client(north: Hospital, sign_in: Callable[..., Client]) -> Client:
    return sign_in(north, north.radiologist)


def waits(hospital: Hospital, study: Study, minutes: int) -> None:
    Study.objects.filter(pk=study.pk).update(received=F("received") - datetime.timedelta(minutes=minutes))


def colleague_of(hospital: Hospital) -> Any:
    user = User.objects.create_user("second@north.example", PASSWORD, full_name="Second Reader")
    add_member(tenant=hospital.tenant, user_id=user.pk, role=Role.RADIOLOGIST)
    return user


def test_urgency_then_distance_and_never_the_probability(
    client: Client, north: Hospital, read_study: Callable[..., Study], store_film: Callable[..., Any], version: Any
) -> None:
    """Each study has its place, also those that the AI did not read."""
    film = iter(range(1, 20))
    store_film(north, seed=next(film), patient_name="REFUSED")
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(north.tenant.id):
        reject_job(job=job, code="lateral-view", reason="A lateral film.", instances_seen=1)
    read_study(north, {"seed": next(film), "patient_name": "NORMAL"})
    read_study(north, {"seed": next(film), "patient_name": "PNEUMONIA"}, Infiltration=0.99, Pneumonia=0.95)
    read_study(north, {"seed": next(film), "patient_name": "AIR"}, Pneumothorax=0.31)
    read_study(north, {"seed": next(film), "patient_name": "MORE AIR"}, Pneumothorax=0.5)
    signed = read_study(north, {"seed": next(film), "patient_name": "SIGNED"}, Pneumothorax=0.9)
    waited = read_study(north, {"seed": next(film), "patient_name": "WAITED"})
    stat = read_study(north, {"seed": next(film), "patient_name": "STAT"})
    store_film(north, seed=next(film), patient_name="UNREAD")
    with tenant_tx(north.tenant.id):
        sign_report(
            study=signed, user=north.radiologist, membership=Membership.objects.get(user=north.radiologist),
            impression="Pneumothorax.", agree_rest=True,
        )  # fmt: skip
        waits(north, waited, 121)
    client.post("/worklist/change/", {"study": [str(stat.pk)], "do": "priority:stat"})
    expected = ["STAT", "WAITED", "MORE AIR", "AIR", "PNEUMONIA", "REFUSED", "UNREAD", "NORMAL", "SIGNED"]
    assert names(client.get("/")) == expected
    page = client.get("/").text
    assert "Overdue" in page
    assert ">STAT<" in page
    assert names(client.get("/?sort=newest"))[0] == "UNREAD"


def test_those_who_see_no_findings_see_no_order_of_them(
    north: Hospital, read_study: Callable[..., Study], sign_in: Callable[..., Client]
) -> None:
    read_study(north, {"seed": 1, "patient_name": "AIR"}, Pneumothorax=0.9)
    read_study(north, {"seed": 2, "patient_name": "NORMAL"})
    for person in (north.technologist, north.admin):
        page = sign_in(north, person).get("/?sort=urgent&label=Pneumothorax")
        assert names(page) == ["NORMAL", "AIR"]
        assert "Pneumothorax" not in page.text


def test_a_list_tells_nothing_before_a_blind_reading(
    client: Client, north: Hospital, read_study: Callable[..., Study], sign_in: Callable[..., Client]
) -> None:
    read_study(north, {"seed": 1, "patient_name": "AIR"}, Pneumothorax=0.9)
    read_study(north, {"seed": 2, "patient_name": "NORMAL"})
    with tenant_tx(north.tenant.id):
        ReadingPolicy.objects.create(**BLIND)
    page = client.get("/?label=Pneumothorax")
    assert names(page) == ["AIR", "NORMAL"], "the most urgent study comes first; the filter by a finding is ignored"
    assert "90.0 %" not in page.text


def test_pages_go_on_where_the_last_one_ended(client: Client, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        patient = Patient.objects.create(patient_id="P")
        for number in range(2 * PAGE_SIZE + 3):
            name = f"N{number:03}"
            Study.objects.create(
                patient=patient, patient_name=name, demographics_key=[name.lower(), "", "", "", ""],
                study_instance_uid=f"2.25.{number}",
            )  # fmt: skip
    for sort in ("urgent", "newest", "oldest", "status"):
        seen: list[str] = []
        address = f"/?sort={sort}"
        for size in (PAGE_SIZE, PAGE_SIZE, 3):
            page = client.get(address)
            assert len(names(page)) == size
            seen += names(page)
            before, address = address, link(page, "next")
        assert address == ""
        assert len(set(seen)) == 2 * PAGE_SIZE + 3, sort
        back = client.get(link(page, "prev"))
        assert names(back) == seen[PAGE_SIZE : 2 * PAGE_SIZE], sort
        assert "Studies 51 to 100" in back.text
        assert link(back, "prev") == f"/?sort={sort}"
        assert before != "/"
    assert len(names(client.get("/?cursor=nonsense"))) == PAGE_SIZE


def link(page: Any, relation: str) -> str:
    found = re.search(rf'rel="{relation}" href="([^"]*)"', page.text)
    return html.unescape(found[1]) if found else ""


def test_assignment_and_what_is_mine(client: Client, north: Hospital, read_study: Callable[..., Study]) -> None:
    mine, theirs, free = (
        read_study(north, {"seed": seed, "patient_name": name}) for seed, name in enumerate(("MINE", "THEIRS", "FREE"))
    )
    second = colleague_of(north)
    client.post("/worklist/change/", {"study": [str(mine.pk)], "do": "assign:me"})
    client.post("/worklist/change/", {"study": [str(theirs.pk)], "do": f"assign:{second.pk}"})
    assert names(client.get("/?assigned=me")) == ["MINE"]
    assert names(client.get("/?assigned=none")) == ["FREE"]
    page = client.get(f"/?assigned={second.pk}")
    assert names(page) == ["THEIRS"]
    assert f'<option value="{second.pk}" selected>' in page.text
    assert client.get(f"/next/?after={mine.pk}")["Location"] == f"/studies/{theirs.pk}/"
    assert "Second Reader" in client.get("/").text
    client.post("/worklist/change/", {"study": [str(mine.pk), str(free.pk)], "do": "assign:none"})
    assert names(client.get("/?assigned=me")) == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"do": "assign:me"}, 400),
        ({"study": "{study}", "do": "assign:0190a5c0-0000-7000-8000-000000000000"}, 404),
        ({"study": "{study}", "do": "priority:soon"}, 400),
        ({"study": "{study}", "do": ""}, 400),
        ({"study": "no-uuid", "do": "unread"}, 400),
    ],
)
def test_a_change_that_cannot_be_made(
    client: Client, north: Hospital, store_film: Callable[..., Any], data: dict[str, str], status: int
) -> None:
    study = store_film(north).study
    filled = {name: value.format(study=study.pk) for name, value in data.items()}
    assert client.post("/worklist/change/", filled).status_code == status


def test_another_hospital_changes_nothing(
    north: Hospital, south: Hospital, store_film: Callable[..., Any], sign_in: Callable[..., Client]
) -> None:
    study = store_film(north).study
    other = sign_in(south, south.radiologist)
    for what in ("assign:me", "priority:stat", "unread"):
        other.post("/worklist/change/", {"study": [str(study.pk)], "do": what})
    with tenant_tx(north.tenant.id):
        entry = WorklistEntry.objects.get()
        assert (entry.assigned_to_id, entry.chosen_priority) == (None, None)


def test_stat_moves_up_in_the_queue_and_a_person_may_take_it_back(
    client: Client, north: Hospital, store_film: Callable[..., Any], sign_in: Callable[..., Client]
) -> None:
    study = store_film(north).study
    sign_in(north, north.technologist).post("/worklist/change/", {"study": [str(study.pk)], "do": "priority:stat"})
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.get().priority == Priority.STAT
        assert WorklistEntry.objects.get().is_stat
    client.post("/worklist/change/", {"study": [str(study.pk)], "do": "priority:routine"})
    with tenant_tx(north.tenant.id):
        assert not WorklistEntry.objects.get().is_stat


def test_a_study_is_unread_until_this_person_opens_it_and_after_news(
    client: Client, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., Any],
    sign_in: Callable[..., Client],
) -> None:  # fmt: skip
    study = store_film(north).study
    assert "is-unread" in client.get("/").text
    client.get(f"/studies/{study.pk}/", headers={"Sec-Purpose": "prefetch"})
    assert "is-unread" in client.get("/").text, "a page that the browser fetches in advance is not opened"
    client.get(f"/studies/{study.pk}/")
    assert "is-unread" not in client.get("/").text
    assert names(client.get("/?unread=1")) == []
    assert "is-unread" in sign_in(north, north.technologist).get("/").text
    finish(north)
    assert "is-unread" in client.get("/").text
    client.get(f"/studies/{study.pk}/")
    client.post("/worklist/change/", {"study": [str(study.pk)], "do": "unread"})
    assert len(names(client.get("/?unread=1"))) == 1


def test_views_are_saved_opened_and_removed_by_one_person(
    client: Client, north: Hospital, sign_in: Callable[..., Client]
) -> None:
    client.post("/search/", {"text": "doe", "status": "waiting", "sort": "oldest"})
    assert client.post("/worklist/views/", {"name": ""}).status_code == 400
    client.get("/?status=waiting&sort=oldest")
    saved = client.post("/worklist/views/", {"name": " Night\nshift "})
    assert saved["Location"] == "/?status=waiting&sort=oldest"
    page = client.get("/").text
    assert 'class="saved" href="/?status=waiting&amp;sort=oldest">Night shift' in page
    assert "Night shift" not in sign_in(north, north.technologist).get("/").text
    with tenant_tx(north.tenant.id):
        (view,) = SavedView.objects.all()
        assert "doe" not in view.address
    assert sign_in(north, north.technologist).post(f"/worklist/views/{view.pk}/remove/").status_code == 404
    client.post(f"/worklist/views/{view.pk}/remove/")
    assert "Night shift" not in client.get("/").text


def test_the_next_study_of_the_list(client: Client, north: Hospital, read_study: Callable[..., Study]) -> None:
    studies = {
        name: read_study(north, {"seed": seed, "patient_name": name}, **findings)
        for seed, (name, findings) in enumerate(
            {"A": {}, "B": {"Mass": 0.9}, "C": {"Pneumothorax": 0.9}, "D": {"Pneumothorax": 0.5}}.items()
        )
    }
    address = {name: f"/studies/{study.pk}/" for name, study in studies.items()}
    client.get("/")
    client.get(address["C"])
    assert client.get(f"/next/?after={studies['C'].pk}")["Location"] == address["D"]
    client.post("/worklist/change/", {"study": [str(studies["D"].pk)], "do": f"assign:{colleague_of(north).pk}"})
    found = client.get(f"/next/?after={studies['C'].pk}", headers={"Accept": "application/json"}).json()
    assert found == {"study": address["B"], "film": f"{address['B']}film.png"}
    # Once all were opened, it goes round: no study is left out.
    for name in "ABD":
        client.get(address[name])
    walked, here = [], address["C"]
    for _ in range(3):
        here = client.get(f"/next/?after={here.split('/')[2]}")["Location"]
        walked.append(here)
    assert sorted(walked) == sorted([address["A"], address["B"], address["C"]])
    client.get("/?sort=oldest")
    assert client.get(f"/next/?after={studies['A'].pk}")["Location"] == address["B"]
    assert client.get(f"/next/?after={studies['C'].pk}")["Location"] == address["A"], "it begins again at the top"
    client.get("/?label=Mass")
    assert client.get(f"/next/?after={studies['B'].pk}")["Location"] == "/?label=Mass"
    assert "This list is done" in client.get("/?label=Mass").text
    nothing = client.get(f"/next/?after={studies['B'].pk}", headers={"Accept": "application/json"}).json()
    assert nothing == {"study": None, "film": None}


def test_leaving_a_study_keeps_filter_page_and_search(
    client: Client, north: Hospital, read_study: Callable[..., Study]
) -> None:
    study = read_study(north, {"patient_name": "DOE^Jane"})
    client.post("/search/", {"text": "doe", "report": "preliminary"})
    client.get("/?report=preliminary")
    assert 'href="/?report=preliminary" aria-label="Back to the worklist"' in client.get(f"/studies/{study.pk}/").text
    assert names(client.get("/?report=preliminary")) == ["DOE, Jane"]


def test_a_poll_without_news_costs_nothing(
    client: Client, north: Hospital, store_film: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    store_film(north)
    first = client.get("/", headers={"X-Fragment": "1"})
    assert first.status_code == 200
    again = client.get("/", headers={"X-Fragment": "1", "If-None-Match": first["ETag"]})
    assert again.status_code == 304
    size = len(again.content) + sum(len(name) + len(value) + 4 for name, value in again.items())
    assert size <= 1000
    other_state = 'W/"0.' + first["ETag"].partition(".")[2]
    assert client.get("/", headers={"X-Fragment": "1", "If-None-Match": other_state}).status_code == 304
    finish(north)
    assert client.get("/", headers={"X-Fragment": "1", "If-None-Match": again["ETag"]}).status_code == 200


def test_pages_are_compressed(client: Client, north: Hospital) -> None:
    response = client.get("/", headers={"Accept-Encoding": "gzip"})
    assert response["Content-Encoding"] == "gzip"
    assert len(response.content) < 10_000
