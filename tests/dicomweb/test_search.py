"""QIDO-RS: what matches, what is returned, what is ignored, and what is never found."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.studies.query import search
from apps.studies.query.attributes import ATTRIBUTES
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.dicomweb.test_retrieve import json_of
from tests.studies import objects

NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"
ONE, TWO, THREE = "1.2.826.0.1.1", "1.2.826.0.1.2", "1.2.826.0.1.3"


@pytest.fixture
def found(north: Hospital, south: Hospital, send: Callable[..., Any]) -> Callable[..., Any]:
    """Three studies of one hospital, one of another; a search that returns the UIDs of the studies."""
    sent = [
        (ONE, {"PatientName": "O'Brien^Mary_100%", "StudyDate": "20240110", "StudyTime": "101530"}),
        (
            TWO,
            {"PatientName": NAME, "SpecificCharacterSet": "ISO_IR 192", "StudyDate": "20240215", "StudyTime": "235959"},
        ),
        (THREE, {"PatientName": "Meyer^Anna", "StudyDate": "19991231", "StudyTime": "000000", "Modality": "CR"}),
    ]
    for number, (study, attributes) in enumerate(sent, start=1):
        accession = {"AccessionNumber": f"A{number}", "StudyID": "S_1" if number == 1 else "SX1"}
        send(north, objects.image(study, patient_id=f"P{number}", **accession, **attributes))
    send(north, objects.image(ONE, 2, patient_id="P1", PatientName="O'Brien^Mary_100%"))
    send(south, objects.image("1.2.826.0.1.9", patient_id="P1", AccessionNumber="A1"))
    client = Client(headers=north.bearer)

    def search(query: str = "", address: str = "studies") -> Any:
        return client.get(f"/dicom-web/{address}{'?' if query else ''}{query}")

    return search


def studies(answer: Any) -> set[str]:
    if answer.status_code == 204:
        return set()
    assert answer.status_code == 200, answer.content
    return {each["0020000D"]["Value"][0] for each in answer.json()}


@pytest.mark.parametrize(
    ("query", "matching"),
    [
        ("", {ONE, TWO, THREE}),
        ("PatientID=P1", {ONE}),
        ("00100020=P?", {ONE, TWO, THREE}),
        ("PatientID=p1", set()),
        ("PatientID=%25", set()),
        ("PatientID=P_", set()),
        ("StudyID=S_1", {ONE}),
        ("StudyID=S*1", {ONE, TWO, THREE}),
        ("AccessionNumber=A2", {TWO}),
        ("AccessionNumber=*", {ONE, TWO, THREE}),
        ("AccessionNumber=", {ONE, TWO, THREE}),
        (f"StudyInstanceUID={ONE}", {ONE}),
        (f"StudyInstanceUID={ONE},{TWO}", {ONE, TWO}),
        (f"StudyInstanceUID={ONE}%5C{TWO}", {ONE, TWO}),
        (f"StudyInstanceUID={ONE}&StudyInstanceUID={THREE}", {ONE, THREE}),
        ("StudyDate=20240110", {ONE}),
        ("StudyDate=20240101-20240131", {ONE}),
        ("StudyDate=20240111-", {TWO}),
        ("StudyDate=-20000101", {THREE}),
        ("StudyTime=1015", {ONE}),
        ("StudyTime=10-235959", {ONE, TWO}),
        ("StudyTime=-0000", {THREE}),
        ("PatientName=o'brien^mary_100%25", {ONE}),
        ("PatientName=O'Brien*", {ONE}),
        ("PatientName=yamada*", {TWO}),
        ("PatientName=山田^太郎", {TWO}),
        ("PatientName==山田*", {TWO}),
        ("PatientName===やまだ*", {TWO}),
        ("PatientName==Yamada*", set()),
        ("PatientName=Mey?r^*", {THREE}),
        ("PatientName=.*", set()),
        ("ModalitiesInStudy=CR", {THREE}),
        ("ModalitiesInStudy=CR,DX", {ONE, TWO, THREE}),
        ("Modality=CR", {THREE}),
        ("PatientBirthDate=19600102&PatientSex=F", {ONE, TWO, THREE}),
        ("limit=1&offset=2", {ONE}),
        ("limit=2", {TWO, THREE}),
        ("offset=3", set()),
    ],
)
def test_matching(found: Callable[..., Any], query: str, matching: set[str]) -> None:
    assert studies(found(query)) == matching


def test_rows_are_read_in_windows_and_none_is_left_out(
    found: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = (
        "studies?",
        "studies?limit=1&offset=1&",
        "studies?PatientName=*a*&",
        "series?Modality=CR&",
        "instances?",
    )
    whole = [found(address=each + "includefield=all").content for each in addresses]
    monkeypatch.setattr(search, "_FIRST_WINDOW", 1)
    monkeypatch.setattr(search, "_GROWTH", 1)
    assert [found(address=each + "includefield=all").content for each in addresses] == whole
    assert studies(found("ModalitiesInStudy=CR&limit=1")) == {THREE}


def test_what_is_returned(found: Callable[..., Any], north: Hospital) -> None:
    answer = found(f"StudyInstanceUID={ONE}")
    assert answer["Content-Type"] == "application/dicom+json"
    (study,) = answer.json()
    assert list(study) == sorted(study)
    assert study["00080005"]["Value"] == ["ISO_IR 192"]
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [2]
    assert study["00080061"]["Value"] == ["DX"]
    assert study["00081190"]["Value"] == [f"http://testserver/dicom-web/studies/{ONE}"]
    assert study["00080090"] == {"vr": "PN"}
    assert "00081030" not in study
    (more,) = found(f"StudyInstanceUID={ONE}&includefield=StudyDescription,00080062&includefield=nothing").json()
    assert more["00081030"]["Value"]
    assert more["00080062"]["Value"] == ["1.2.840.10008.5.1.4.1.1.1.1"]
    (series,) = found("includefield=all", f"studies/{ONE}/series").json()
    assert series["00201209"]["Value"] == [2]
    assert series["0020000E"]["Value"] == [f"{ONE}.1"]
    assert series["00081190"]["Value"] == [f"http://testserver/dicom-web/studies/{ONE}/series/{ONE}.1"]
    assert series["00100020"]["Value"] == ["P1"]
    (series,) = found("", f"studies/{ONE}/series").json()
    assert "00100020" not in series
    instances = found("", f"studies/{ONE}/series/{ONE}.1/instances").json()
    assert [each["00080018"]["Value"] for each in instances] == [[f"{ONE}.1.2"], [f"{ONE}.1.1"]]
    assert instances[0]["00280010"]["Value"] == [256]
    assert instances[0]["00280100"]["Value"] == [16]
    assert [len(found("", address).json()) for address in ("series", "instances")] == [3, 4]
    assert len(found("SOPInstanceUID=" + f"{ONE}.1.2", "instances").json()) == 1
    assert len(found("Rows=256&InstanceNumber=1", f"studies/{ONE}/instances").json()) == 2
    with tenant_tx(north.tenant.id):
        assert AuditEvent.objects.filter(action="studies.searched", actor="api:pacs").count() == 9


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("fuzzymatching=true&PatientID=P1", "Only literal matching has been performed."),
        ("emptyvaluematching=true&PatientID=P1", "The emptyvaluematching parameter is not supported."),
        ("PatientWeight=80&PatientID=P1", "ignored: PatientWeight."),
        ("00101030=80&PatientID=P1", "ignored: PatientWeight."),
        ("nonsense%0D%0AX-Evil:1=2&PatientID=P1", "a parameter without a valid name"),
        ("limit=1", "There are additional results that can be requested."),
    ],
)
def test_what_is_ignored_is_named(found: Callable[..., Any], query: str, warning: str) -> None:
    answer = found(query)
    assert warning in answer["Warning"]
    assert answer["Warning"].startswith('299 checxray "')
    assert len(answer.json()) == 1


@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=20240230", "StudyDate=2024-01-01", "StudyDate=00000000-99999999", "StudyTime=2561", "limit=-1",
        "limit=0", "offset=x", "offset=99999999999999999999", "StudyInstanceUID=1.2'--", "PatientID=" + "x" * 10_000,
        "PatientName=" + "*a" * 40, "PatientID=P1&PatientID=P2", "PatientID=%00", f"StudyDate={'1' * 10_000}",
        "&".join(f"k{number}=1" for number in range(60)),
    ],
)  # fmt: skip
def test_hostile_queries_are_refused(found: Callable[..., Any], query: str) -> None:
    answer = found(query)
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


def test_what_is_never_found(
    found: Callable[..., Any], north: Hospital, south: Hospital, send: Any, sign_in: Callable[..., Client]
) -> None:
    from apps.studies.models import Instance, Study

    send(north, objects.image(TWO, 2, patient_id="SOMEBODY-ELSE"))
    send(north, objects.document(TWO, "1.2.840.10008.5.1.4.1.1.88.33", patient_id="P2"))
    with tenant_tx(north.tenant.id):
        assert Instance.objects.filter(is_held=True).count() == 1
        Study.objects.filter(study_instance_uid=THREE).update(withdrawn="2026-01-01T00:00:00Z")
    assert studies(found()) == {ONE, TWO}
    assert len(found("", f"studies/{TWO}/instances").json()) == 2
    assert found("", f"studies/{THREE}/series").status_code == 410
    assert found("", "studies/1.2.826.0.1.9/series").status_code == 404
    assert found("", "studies/not-a-uid/series").status_code == 400
    assert studies(found("StudyInstanceUID=1.2.826.0.1.9")) == set()
    # A technologist sees no object that shows findings.
    for person, count in ((north.radiologist, 2), (north.technologist, 1)):
        browser = sign_in(north, person)
        address = f"/dicom-web/studies/{TWO}"
        assert len(browser.get(f"{address}/instances").json()) == count
        assert len(json_of(browser.get(f"{address}/metadata"))) == count
    assert Client(headers=south.bearer).get(f"/dicom-web/studies/{TWO}/series").status_code == 404


def test_every_attribute_has_the_tag_and_vr_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    for keyword, attribute in ATTRIBUTES.items():
        tag = tag_for_keyword(keyword)
        assert (attribute.tag, attribute.vr) == (f"{tag:08X}", dictionary_VR(tag))
