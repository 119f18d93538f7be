"""Two hospitals with the same films: neither can access the other's study at any address of the API."""

from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

# Every address of the API, with its request for a study; None where it has none.
PROBES = {
    "studies": None,
    "study": "/api/v1/studies/{uid}/",
    "report": "/api/v1/studies/{uid}/report.pdf",
    "report-version": None,
    "heatmap": "/api/v1/studies/{uid}/heatmaps/Effusion.png",
    "predict": None,
    "models": None,
    "model": None,
    # Webhooks belong to no study; test_webhooks.py asks for another tenant's.
    "webhooks": None,
    "webhook": None,
    "webhook-test": None,
    "webhook-secret": None,
    "webhook-repeat": None,
    "schema": None,
    "docs": None,
}


def api_names() -> set[str]:
    (api,) = [each for each in get_resolver().url_patterns if getattr(each, "app_name", None) == "api"]
    return {each.name or "?" for each in api.url_patterns if isinstance(each, URLPattern)}


def test_every_address_has_a_probe() -> None:
    assert api_names() == set(PROBES), "A new address of the API needs an entry in PROBES."


@pytest.fixture
def southern_uid(south: Any, store_film: Any, read: Any, uid_of: Any) -> str:
    instance = store_film(south, seed=7, patient_name="CANARY^SOUTH").instance
    read(instance, Effusion=0.9)
    return uid_of(instance)


@pytest.mark.parametrize("address", sorted(filter(None, PROBES.values())))
def test_a_foreign_study_is_not_there(north: Any, south: Any, southern_uid: str, address: str) -> None:
    path = address.format(uid=southern_uid)

    assert Client().get(path, headers=south.bearer).status_code == 200
    foreign = Client().get(path, headers=north.bearer)
    nowhere = Client().get(address.format(uid="1.2.3"), headers=north.bearer)
    assert foreign.status_code == nowhere.status_code == 404
    assert foreign.content == nowhere.content


def test_a_list_holds_only_the_callers_studies(north: Any, southern_uid: str) -> None:
    for query in ({}, {"study_instance_uid": southern_uid}, {"label": "Effusion"}):
        assert Client().get("/api/v1/studies/", query, headers=north.bearer).json()["results"] == []


def test_twins_share_a_uid_and_nothing_else(north: Any, south: Any, store_film: Any, read: Any, uid_of: Any) -> None:
    film = {"seed": 3, "study_uid": "1.2.826.1", "series_uid": "1.2.826.2", "sop_uid": "1.2.826.3"}
    northern = store_film(north, patient_name="NORTH^A", **film).instance
    read(northern, Effusion=0.9)
    store_film(south, patient_name="SOUTH^B", **film)

    address = "/api/v1/studies/1.2.826.1/"
    assert Client().get(address, headers=north.bearer).json()["status"] == "complete"
    assert Client().get(address, headers=south.bearer).json()["status"] == "queued"
