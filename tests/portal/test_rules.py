"""Hospital settings, Rules: the list, its order, the test of an object, the history."""

import re
from collections.abc import Callable
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.core.work_queue import JobState
from apps.inference.models import InferenceJob
from apps.routing.rule_selectors import intake_policy
from apps.studies.models import Instance
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.inference.test_quiet_time import set_quiet_time
from tests.studies import objects

PAGE = "/settings/rules/"


def names(hospital: Hospital) -> list[str]:
    with tenant_tx(hospital.tenant.id):
        return [rule.name for rule in intake_policy().own_rules]


def number(hospital: Hospital) -> int:
    with tenant_tx(hospital.tenant.id):
        return intake_policy().number


def rule_id(hospital: Hospital, name: str) -> str:
    with tenant_tx(hospital.tenant.id):
        return next(str(rule.id) for rule in intake_policy().own_rules if rule.name == name)


def add(client: Client, hospital: Hospital, name: str, action: str, **values: str) -> None:
    sent = {"name": name, "action": action, "number": number(hospital), **values}
    assert client.post(f"{PAGE}new/", sent).status_code == 302, name


def change(client: Client, hospital: Hospital, name: str, what: str) -> Any:
    address = f"{PAGE}{rule_id(hospital, name)}/change/"
    return client.post(address, {"what": what, "number": number(hospital)})


def test_rules_are_set_by_the_administrator(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client], send: Callable[..., Any]
) -> None:
    admin = sign_in(north, north.admin)
    page = admin.get(PAGE).text
    assert "No rules of your own" in page
    assert "only frontal films are read" in page, "What is built in is shown."
    add(admin, north, "Wards", "store", StationName="WARD*")
    add(admin, north, "Phantoms", "refuse", StudyDescription="qa*, test", SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")
    assert change(admin, north, "Phantoms", "up").status_code == 302
    assert names(north) == ["Phantoms", "Wards"]
    stale = admin.post(f"{PAGE}{rule_id(north, 'Wards')}/", {"name": "x", "action": "read", "number": 1})
    assert "Somebody has changed the rules meanwhile" in stale.text
    edited = {"name": "Wards", "action": "read", "priority": "1", "StationName": "WARD*", "number": number(north)}
    assert admin.post(f"{PAGE}{rule_id(north, 'Wards')}/", edited).status_code == 302
    assert change(admin, north, "Wards", "off").status_code == 302
    page = admin.get(PAGE).text
    assert "priority High" in page
    assert "switched off" in page
    assert "Digital X-Ray Image Storage - For Presentation" in page
    assert change(admin, north, "Wards", "remove").status_code == 302
    history = admin.get(f"{PAGE}history/").text
    for text in ("Added: Wards", "Order: Phantoms, Wards", "Changed: Wards (action, priority)", "Removed: Wards"):
        assert text in history
    assert str(north.admin) in history
    assert admin.post(f"{PAGE}history/3/restore/", {"number": number(north)}).status_code == 302
    assert names(north) == ["Phantoms", "Wards"]
    assert sign_in(north, north.radiologist).get(PAGE).status_code == 403
    other = sign_in(south, south.admin)
    assert "Phantoms" not in other.get(PAGE).text + other.get(f"{PAGE}history/").text
    assert other.get(f"{PAGE}{rule_id(north, 'Wards')}/").status_code == 404


def test_an_object_is_tested_and_not_stored(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client], send: Callable[..., Any]
) -> None:
    admin = sign_in(north, north.admin)
    add(admin, north, "From the ER", "read", priority="2", CallingAETitle="ER1")
    add(admin, north, "Wards", "store", StationName="WARD*", Modality="DX, CR")
    data = objects.image("1.2.3.1", StationName="Ward 7")

    def tested(client: Client, **values: Any) -> str:
        answer = client.post(f"{PAGE}test/", values)
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))

    text = tested(admin, file=SimpleUploadedFile("film.dcm", data))
    assert "Store only The rule “Wards” says so." in text
    assert "Calling AE title: wanted ER1, found – (differs)" in text
    assert "Station name: wanted WARD*, found Ward 7 (fits)" in text
    text = tested(admin, file=SimpleUploadedFile("film.dcm", data), calling_ae_title="ER1")
    assert "Read (priority STAT)" in text
    assert "matches, but an earlier rule decides" in text
    text = tested(admin, file=SimpleUploadedFile("x.dcm", objects.image("1.2.3.1", ViewPosition="LL")))
    assert "Store only" in text
    assert "only frontal films are read" in text, "The input check decides where no rule does."
    text = tested(admin, file=SimpleUploadedFile("x.txt", b"no film at all"))
    assert "Refuse" in text
    assert "Choose a file, or enter" in tested(admin)
    with tenant_tx(north.tenant.id):
        assert not Instance.objects.exists()
    send(north, data)
    uid = "1.2.3.1.1.1"
    assert "The rule “Wards” says so." in tested(admin, sop_instance_uid=uid)
    other = sign_in(south, south.admin)
    assert "This hospital has no object with that SOP Instance UID." in tested(other, sop_instance_uid=uid)
    assert "No rule of yours matches" in tested(other, file=SimpleUploadedFile("film.dcm", data))


def test_what_a_rule_kept_back_can_be_read(
    north: Hospital, sign_in: Callable[..., Client], send: Callable[..., Any], read_studies: Callable[[], int]
) -> None:
    admin = sign_in(north, north.admin)
    add(admin, north, "Everything", "store")
    study = send(north, objects.image("1.2.3.1")).study_id
    assert read_studies() == 1
    page = admin.get(f"/studies/{study}/").text
    assert "The AI did not read this film." in page
    assert "The hospital&#x27;s rule “Everything” stores this image without having it read." in page
    stale = rule_id(north, "Everything")
    change(admin, north, "Everything", "remove")
    assert "1 image not read" in admin.get(PAGE).text, "Also of a rule that was removed."
    assert admin.post(f"{PAGE}{stale}/change/", {"what": "read"}).status_code == 302
    assert read_studies() == 1
    with tenant_tx(north.tenant.id):
        assert InferenceJob.objects.latest("id").state == JobState.COMPLETE
    assert "not read" not in admin.get(PAGE).text.split('class="built-in"')[0]


def test_the_study_says_that_it_waits_for_more_images(
    north: Hospital, sign_in: Callable[..., Client], send: Callable[..., Any]
) -> None:
    admin = sign_in(north, north.admin)
    saved = admin.post(PAGE, {"seconds": "120", "longest_wait_minutes": "10", "number": 0})
    assert saved.status_code == 302
    assert 'value="120"' in admin.get(PAGE).text
    assert admin.post(PAGE, {"seconds": "-1", "longest_wait_minutes": "10", "number": 1}).status_code == 200
    study = send(north, objects.image("1.2.3.1")).study_id
    assert "It waits for more images of the study until" in admin.get(f"/studies/{study}/").text
    set_quiet_time(north, 0)
    assert "Quiet time: 120 seconds, longest wait 10 minutes" in admin.get(f"{PAGE}history/").text
