"""The resources say what REST says, in FHIR's words; the signature turns their label and their status."""

from typing import Any

import pytest

from apps.results.objects.codes import FINDINGS
from apps.tenants.scope import tenant_tx

SNOMED = "http://snomed.info/sct"


def codes_of(element: Any) -> list[str]:
    return [each["code"] for each in element["coding"]]


def label(resource: Any) -> list[str]:
    return [each["code"] for each in resource["meta"]["security"]]


def by_code(bundle: Any) -> dict[str, Any]:
    return {codes_of(each["resource"]["code"])[0]: each["resource"] for each in bundle["entry"]}


def components(observation: Any) -> dict[str, Any]:
    return {each["code"]["text"]: each for each in observation["component"]}


def test_a_study_and_its_preliminary_report(north: Any, store_film: Any, read: Any, version: Any, ask: Any) -> None:
    stored = store_film(
        north, patient_name="Yamada^Tarou=山田^太郎", patient_id="P 1", accession_number="A1", study_date="20240102"
    )
    read(stored.instance, Effusion=0.71, Hernia=0.9)
    study = str(stored.study.pk)

    imaging = ask(north, f"ImagingStudy/{study}")
    assert imaging["identifier"][0] == {
        "system": "urn:dicom:uid", "value": f"urn:oid:{stored.study.study_instance_uid}",
    }  # fmt: skip
    assert imaging["identifier"][1]["value"] == "A1"
    assert imaging["started"].startswith("2024-01-02")
    (series,) = imaging["series"]
    assert (imaging["numberOfSeries"], imaging["numberOfInstances"]) == (1, 1)
    assert series["instance"][0]["uid"] == stored.instance.sop_instance_uid
    assert series["instance"][0]["sopClass"]["code"] == f"urn:oid:{stored.instance.sop_class_uid}"
    endpoint = next(each for each in imaging["contained"] if each["resourceType"] == "Endpoint")
    assert endpoint["address"].endswith("/dicom-web")
    patient = imaging["contained"][0]
    assert patient["identifier"][0]["value"] == "P 1"
    assert [(each["family"], each["given"]) for each in patient["name"]] == [("Yamada", ["Tarou"]), ("山田", ["太郎"])]
    assert [each["extension"][0]["valueCode"] for each in patient["name"]] == ["ABC", "IDE"]
    assert patient["birthDate"] == stored.instance.patient_birth_date.isoformat()
    assert patient["gender"] == {"M": "male", "F": "female"}[stored.instance.patient_sex]
    assert imaging["subject"]["reference"] == f"#{patient['id']}"

    report = ask(north, f"DiagnosticReport/{study}")
    assert (report["status"], label(report)) == ("preliminary", ["AIAST"])
    assert "conclusion" not in report
    assert report["imagingStudy"] == [{"reference": f"ImagingStudy/{study}"}]
    assert len(report["result"]) == 14
    assert "Not for diagnostic use" in report["text"]["div"]

    observations = by_code(ask(north, "Observation", **{"derived-from": f"ImagingStudy/{study}"}))
    assert {f"Observation/{each['id']}" for each in observations.values()} == {
        each["reference"] for each in report["result"]
    }
    assert set(observations) == {code.value for code in FINDINGS.values()}
    effusion = observations[FINDINGS["Effusion"].value]
    assert effusion["code"]["coding"][0] == {"system": SNOMED, "code": "60046008", "display": "Pleural effusion"}
    assert (effusion["status"], label(effusion)) == ("preliminary", ["AIAST"])
    assert codes_of(effusion["valueCodeableConcept"]) == ["10828004"]
    assert codes_of(effusion["interpretation"][0]) == ["POS"]
    said = components(effusion)
    assert said["Probability"]["valueQuantity"]["value"] == 0.71
    assert said["Threshold Value"]["valueQuantity"]["value"] == 0.5
    assert ask(north, f"Observation/{effusion['id']}") == effusion
    # This version has no operating point for a hernia, so it does not call one.
    hernia = observations[FINDINGS["Hernia"].value]
    assert "valueCodeableConcept" not in hernia
    assert codes_of(hernia["dataAbsentReason"]) == ["unsupported"]
    assert set(components(hernia)) == {"Probability"}

    device = ask(north, effusion["device"]["reference"])
    assert device["deviceName"][0]["name"] == "chest-net"
    assert device["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{version.device_uid}"}]
    assert codes_of(device["type"]) == ["Artificial-Intelligence"]


def test_the_signature_turns_the_label(north: Any, store_film: Any, read: Any, sign: Any, ask: Any) -> None:
    from apps.inference.models import Finding
    from apps.reports.services import review_finding
    from apps.tenants.models import Membership

    stored = store_film(north, size=256)
    read(stored.instance, Effusion=0.9, Mass=0.9)
    study = str(stored.study.pk)
    with tenant_tx(north.tenant.id):
        member = Membership.objects.get(user=north.radiologist)
        review_finding(
            finding=Finding.objects.get(label="Mass"), verdict="disagree", user=north.radiologist, membership=member
        )

    sign(north, stored.study, "Effusion on the right.")
    report = ask(north, f"DiagnosticReport/{study}")
    assert (report["status"], label(report)) == ("final", ["CLINAST_AIRPT"])
    assert report["conclusion"] == "Effusion on the right."
    assert [codes_of(each) for each in report["conclusionCode"]] == [["60046008"]]
    assert report["resultsInterpreter"] == [{"display": str(north.radiologist)}]
    observations = by_code(ask(north, "Observation", **{"derived-from": study}))
    assert {each["status"] for each in observations.values()} == {"final"}
    assert {tuple(label(each)) for each in observations.values()} == {("CLINAST_AIRPT",)}
    # What the reader decided is the value; what the AI said stays beside it.
    rejected = observations[FINDINGS["Mass"].value]
    assert codes_of(rejected["valueCodeableConcept"]) == ["260385009"]
    assert codes_of(rejected["interpretation"][0]) == ["NEG"]
    assert codes_of(components(rejected)["Has interpretation"]["valueCodeableConcept"]) == ["10828004"]
    assert codes_of(components(rejected)["Verdict of the reader"]["valueCodeableConcept"]) == ["rejected"]

    sign(north, stored.study, "No effusion.", amends=1, reason="Misread.")
    sign(north, stored.study, "Seen by telephone.", amends=2, reason="Call.", is_addendum=True)
    report = ask(north, f"DiagnosticReport/{study}")
    assert report["status"] == "amended"
    assert report["conclusion"] == "No effusion.\n\nAddendum: Seen by telephone."
    assert report["presentedForm"][0]["title"] == "Report, version 3"


def test_a_reading_after_the_signature_changes_no_report(
    north: Any, store_film: Any, read: Any, sign: Any, ask: Any
) -> None:
    from apps.inference.requests import request_inference

    stored = store_film(north, size=256)
    read(stored.instance, Effusion=0.9)
    sign(north, stored.study, "Effusion.")
    before = ask(north, f"DiagnosticReport/{stored.study.pk}")
    with tenant_tx(north.tenant.id):
        request_inference(study_id=stored.study.pk)
    read(stored.instance, Effusion=0.1)
    after = ask(north, f"DiagnosticReport/{stored.study.pk}")
    assert after == before
    found = ask(north, "Observation", **{"derived-from": str(stored.study.pk)})
    assert {f"Observation/{each['resource']['id']}" for each in found["entry"]} == {
        each["reference"] for each in before["result"]
    }


def test_a_study_without_a_result(north: Any, store_film: Any, version: Any, ask: Any) -> None:
    from apps.inference.services import claim_jobs, reject_job

    stored = store_film(north, size=256)
    waiting = ask(north, f"DiagnosticReport/{stored.study.pk}")
    assert waiting["status"] == "registered"
    assert not {"security", "result", "issued", "presentedForm"} & {*waiting, *waiting["meta"]}
    (job,) = claim_jobs(limit=1, version=version, worker="test")
    with tenant_tx(job.tenant_id):
        reject_job(
            job=job, code="not-frontal", reason="It is a lateral view.", instances_seen=1, instance=stored.instance
        )
    refused = ask(north, f"DiagnosticReport/{stored.study.pk}")
    assert refused["status"] == "cancelled"
    assert refused["conclusion"] == "The AI gave no result: It is a lateral view."
    for status, total in (("registered", 0), ("cancelled", 1), ("preliminary", 0), ("registered,cancelled", 1)):
        assert ask(north, "DiagnosticReport", status=status)["total"] == total


@pytest.mark.parametrize(
    ("issuer", "system", "assigner"),
    [("1.2.840.99", "urn:oid:1.2.840.99", None), ("HOSP", None, "HOSP"), ("", None, None)],
)
def test_the_issuer_of_a_patient_id(issuer: str, system: str | None, assigner: str | None) -> None:
    from apps.fhir.resources.datatypes import patient_identifier, without_empty

    found = without_empty(patient_identifier("1", issuer))
    assert found.get("system") == system
    assert found.get("assigner", {}).get("display") == assigner
