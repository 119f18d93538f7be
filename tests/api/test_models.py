from typing import Any

from django.test import Client

from ml.labels import LABELS


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
