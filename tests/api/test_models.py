from typing import Any

from django.test import Client

from apps.audit.services import Actor
from apps.deployment.models import Offer
from apps.deployment.services import activate, challenge, end_challenge, retire
from apps.registry.models import ModelVersion
from ml.labels import LABELS
from tests.registry.versions import registered


def named_by(hospital: Any) -> list[str]:
    """The versions in a tenant's list; it may read each of them, and any other is not found."""
    results = Client().get("/api/v1/models/", headers=hospital.bearer).json()["results"]
    listed = {each["model_version"] for each in results}
    for version in ModelVersion.objects.all():
        address = f"/api/v1/models/{version.name}/{version.number}/"
        found = Client().get(address, headers=hospital.bearer).status_code == 200
        query = f"/api/v1/predict?model_version={version}"
        answer = Client().post(query, b"?", content_type="application/x-npy", headers=hospital.bearer)
        assert found == (answer.status_code != 404) == (str(version) in listed)
    return sorted(listed)


def test_versions_are_listed_and_described(north: Any, version: Any) -> None:
    listed = Client().get("/api/v1/models/", headers=north.bearer).json()
    (summary,) = listed["results"]
    one = Client().get(summary["url"], headers=north.bearer).json()

    assert listed["intended_use"] == one["intended_use"]
    assert summary["url"] == "/api/v1/models/chest-net/3/"
    assert (summary["model_version"], summary["in_service"]) == ("chest-net:3", True)
    assert "manifest" not in summary
    assert one["labels"] == list(LABELS)
    assert one["input_space"]["size"] == 224
    assert one["sha256"] == version.sha256
    assert one["thresholds"]["Effusion"] == {"value": 0.5, "strategy": "youden", "positives": 40}
    assert one["thresholds"]["Hernia"] is None
    assert one["metrics"]["test"]["mean_auroc"] == 0.71
    assert "Demonstration only" in one["card"]


def test_an_unknown_version_is_a_problem(north: Any, version: Any) -> None:
    for reference in ("chest-net/4", "other/1", "chest-net/9999999999"):
        answer = Client().get(f"/api/v1/models/{reference}/", headers=north.bearer)
        assert answer.status_code == 404
        assert answer.json()["code"] == "model-not-found"


def test_versions_are_for_known_callers(db: None) -> None:
    assert Client().get("/api/v1/models/").status_code == 401


def test_what_reads_or_has_read_somewhere_may_be_named_there(north: Any, south: Any) -> None:
    former, serving, pinned, _candidate = (registered(number) for number in range(1, 5))
    activate(version=former, by=Actor(name="test"))
    activate(version=serving, by=Actor(name="test"))
    activate(version=pinned, tenant=south.tenant, by=Actor(name="test"))

    assert named_by(north) == ["chest-net:1", "chest-net:2"]
    assert named_by(south) == ["chest-net:1", "chest-net:2", "chest-net:3"]
    retire(version=former, by=Actor(name="test"))
    assert named_by(north) == ["chest-net:2"]


def test_the_platforms_version_as_a_pinned_tenants_shadow_is_no_name_there(north: Any, south: Any) -> None:
    own, platforms = registered(1), registered(2)
    activate(version=platforms, by=Actor(name="test"))
    activate(version=own, by=Actor(name="test"), tenant=north.tenant)
    challenge(version=platforms, by=Actor(name="test"), tenant=north.tenant)

    assert named_by(north) == ["chest-net:1"]
    assert named_by(south) == ["chest-net:2"]


def test_an_offered_candidate_may_be_named_until_it_is_a_shadow(north: Any, south: Any) -> None:
    serving, candidate = registered(1), registered(2)
    activate(version=serving, by=Actor(name="test"))
    Offer.objects.create(model_version=candidate, for_tenant=north.tenant, actor="test")

    assert named_by(north) == ["chest-net:1", "chest-net:2"]
    assert named_by(south) == ["chest-net:1"]
    challenge(version=candidate, by=Actor(name="test"))
    assert named_by(north) == ["chest-net:1"]
    end_challenge(by=Actor(name="test"))
    challenge(version=candidate, by=Actor(name="test"), percent=10)
    assert named_by(south) == ["chest-net:1", "chest-net:2"], "A canary reads patients of everyone."
