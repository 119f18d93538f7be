"""C-FIND against the real process, with pynetdicom and DCMTK's findscu as peers."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from apps.audit.models import AuditEvent
from apps.dimse.contexts import PATIENT_ROOT_FIND, STUDY_ROOT_FIND
from apps.routing.models import Peer
from apps.studies.models import Study
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital
from tests.dimse.listening import ListenerProcess
from tests.dimse.peers import run
from tests.studies import objects

A, B = "1.2.826.0.1.18.1", "1.2.826.0.1.18.2"
COMPLETE, INCOMPLETE, DONE, MISMATCH = 0xFF00, 0xFF01, 0x0000, 0xA900


@pytest.fixture
def studies(north: Hospital, south: Hospital, send: Callable[..., Any]) -> None:
    """Two patients of one hospital, and a study with the same UID of another hospital."""
    described = {"AccessionNumber": "ACC1", "StudyDate": "20240105", "PatientName": "Müller^Änne", "Modality": "DX"}
    for number in (1, 2):
        send(north, objects.image(A, number, patient_id="P1", SpecificCharacterSet="ISO_IR 192", **described))
    send(north, objects.document(A, ComprehensiveSRStorage, patient_id="P1"))
    send(north, objects.image(B, 1, patient_id="P2", StudyDate="20240610", AccessionNumber="ACC2"))
    send(south, objects.image(B, 1, patient_id="OTHER", AccessionNumber="SECRET"))


def ask(
    listener: ListenerProcess, level: str, model: str = STUDY_ROOT_FIND, *, is_relational: bool = False,
    charset: str = "", **keys: Any,
) -> tuple[list[Dataset], Dataset, set[int]]:  # fmt: skip
    """The matches, the last status, and the statuses of the matches."""
    entity = AE(PEER)
    entity.add_requested_context(model)
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = model, b"\x01"
    association = entity.associate(
        "127.0.0.1", listener.port, ae_title="NORTH", ext_neg=[item] if is_relational else []
    )
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    if charset:
        identifier.SpecificCharacterSet = charset
    with config.disable_value_validation():
        for keyword, value in keys.items():
            setattr(identifier, keyword, value or None)
    answers = list(association.send_c_find(identifier, model))
    association.release()
    matches = [found for status, found in answers if found is not None]
    return matches, answers[-1][0], {status.Status for status, found in answers if found is not None}


@pytest.mark.usefixtures("studies")
def test_studies_are_found_by_every_kind_of_key(listener: ListenerProcess) -> None:
    def uids(**keys: Any) -> list[str]:
        found, last, _ = ask(listener, "STUDY", **{"StudyInstanceUID": "", **keys})
        assert last.Status == DONE
        return sorted(each.StudyInstanceUID for each in found)

    assert uids() == [A, B]
    assert uids(StudyInstanceUID=[A, "1.2.3"]) == [A]
    assert uids(AccessionNumber="ACC?") == [A, B]
    assert uids(StudyDate="20240101-20240301") == [A]
    assert uids(PatientID="P2") == [B]
    assert uids(ModalitiesInStudy="SR") == [A]
    assert uids(PatientName="müller^*", charset="ISO_IR 100") == [A]
    assert uids(PatientID="OTHER") == []


@pytest.mark.usefixtures("studies")
@pytest.mark.peer("pynetdicom", "C-FIND from us")
def test_each_level_below_its_parents(listener: ListenerProcess) -> None:
    patients, _, statuses = ask(listener, "PATIENT", PATIENT_ROOT_FIND, PatientID="", PatientName="")
    assert sorted(each.PatientID for each in patients) == ["P1", "P2"]
    assert statuses == {COMPLETE}
    series, _, _ = ask(
        listener, "SERIES", StudyInstanceUID=A, SeriesInstanceUID="", Modality="", NumberOfSeriesRelatedInstances=""
    )
    assert sorted((each.Modality, each.NumberOfSeriesRelatedInstances) for each in series) == [("DX", 2), ("SR", 1)]
    assert {each.StudyInstanceUID for each in series} == {A}
    images, _, _ = ask(
        listener, "IMAGE", PATIENT_ROOT_FIND, PatientID="P1", StudyInstanceUID=A, SeriesInstanceUID=f"{A}.1",
        SOPInstanceUID="", InstanceNumber="", Rows="",
    )  # fmt: skip
    assert sorted(each.SOPInstanceUID for each in images) == [f"{A}.1.1", f"{A}.1.2"]
    assert {each.QueryRetrieveLevel for each in images} == {"IMAGE"}
    assert {each.RetrieveAETitle for each in images} == {"NORTH"}


@pytest.mark.usefixtures("studies")
def test_a_lower_level_needs_its_parents_unless_queries_are_relational(listener: ListenerProcess) -> None:
    found, last, _ = ask(listener, "SERIES", SeriesInstanceUID="")
    assert (found, last.Status) == ([], MISMATCH)
    assert "StudyInstanceUID" in last.ErrorComment
    found, last, _ = ask(listener, "IMAGE", SOPInstanceUID="", is_relational=True)
    assert (len(found), last.Status) == (4, DONE)


@pytest.mark.usefixtures("studies")
def test_what_is_not_supported_is_said_and_never_everything(listener: ListenerProcess) -> None:
    found, _, statuses = ask(listener, "STUDY", StudyInstanceUID=A, PatientComments="x")
    assert (len(found), statuses) == (1, {INCOMPLETE})
    assert "PatientComments" not in found[0]
    for level, model, keys in (
        ("PATIENT", STUDY_ROOT_FIND, {}),
        ("FRAME", STUDY_ROOT_FIND, {}),
        ("STUDY", STUDY_ROOT_FIND, {"StudyDate": "yesterday"}),
        ("STUDY", STUDY_ROOT_FIND, {"StudyInstanceUID": "1.2.x"}),
    ):
        found, last, _ = ask(listener, level, model, **keys)
        assert (found, last.Status) == ([], MISMATCH), (level, keys)
        assert "yesterday" not in last.ErrorComment


@pytest.mark.usefixtures("studies")
def test_names_come_in_the_character_set_of_the_request(listener: ListenerProcess) -> None:
    for asked, answered in (("ISO_IR 100", "ISO_IR 100"), ("", "ISO_IR 192"), ("ISO_IR 144", "ISO_IR 192")):
        (found,), _, _ = ask(listener, "STUDY", StudyInstanceUID=A, PatientName="", charset=asked)
        assert (found.SpecificCharacterSet, str(found.PatientName)) == (answered, "Müller^Änne")


@pytest.mark.usefixtures("studies")
def test_a_peer_that_may_only_send_finds_nothing(listener: ListenerProcess, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        Peer.objects.update(is_send_only=True)
    found, last, _ = ask(listener, "STUDY", StudyInstanceUID="")
    assert (found, last.Status) == ([], 0x0124)


@pytest.mark.usefixtures("studies")
def test_a_search_leaves_a_line_of_audit_and_no_withdrawn_study(listener: ListenerProcess, north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        Study.objects.filter(study_instance_uid=B).update(withdrawn="2026-01-01T00:00Z")
    found, _, _ = ask(listener, "STUDY", StudyInstanceUID="")
    assert [each.StudyInstanceUID for each in found] == [A]
    with tenant_tx(north.tenant.id):
        line = AuditEvent.objects.get(action=AuditEvent.Action.STUDIES_SEARCHED)
        assert (line.actor, line.operation, line.amount, line.address) == (
            f"dimse:{PEER}",
            "dimse:c-find",
            1,
            "127.0.0.1",
        )


@pytest.mark.peer("DCMTK", "C-FIND from us")
@pytest.mark.usefixtures("studies")
@pytest.mark.parametrize("model", ["-S", "-P"])
def test_findscu(listener: ListenerProcess, model: str) -> None:
    asked = ("QueryRetrieveLevel=SERIES", "PatientID=P1", f"StudyInstanceUID={A}", "SeriesInstanceUID", "Modality")
    keys = [argument for key in asked for argument in ("-k", key)]
    done = run("findscu", "-v", model, "-aet", PEER, "-aec", "NORTH", "127.0.0.1", str(listener.port), *keys)
    assert done.returncode == 0, done.stdout
    assert len(re.findall(r"\(0008,0060\) CS \[(?:DX|SR)", done.stdout)) == 2, done.stdout
