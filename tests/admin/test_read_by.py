"""Which studies a version read at a threshold, and which ledger entry deployed the version that read a study."""

from typing import Any

from django.test import Client
from django.urls import reverse

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.deployment.models import Challenger
from apps.deployment.points import PointChoice
from apps.deployment.services import activate, challenge, roll_back, set_points, unpin
from apps.inference.models import InferenceJob
from apps.inference.services import Canary, claim_jobs
from apps.tenants.scope import tenant_tx
from apps.trials.readings import readings_of, studies_read_by
from tests.registry.versions import registered


def test_all_studies_read_by_a_version(
    operator: Client, north: Any, south: Any, version: Any, store_film: Any, read: Any
) -> None:
    films = [store_film(north, seed=seed, size=256, patient_name="CANARY^JANE").instance for seed in (1, 2)]
    for film in films:
        read(film, Mass=0.7)
    read(store_film(south, seed=3, size=256).instance, Mass=0.7)

    found = studies_read_by(version=version, label="Mass", threshold=0.5)
    assert [(each.tenant.slug, each.studies) for each in found] == [("north", 2), ("south", 1)]
    assert studies_read_by(version=version, label="Mass", threshold=0.31) == []
    assert len(studies_read_by(version=version, label="Mass", threshold=None)) == 2
    address = reverse("admin:deployment_operatingpoint_read_by")
    page = operator.get(address, {"version": "chest-net:3", "label": "Mass", "threshold": "0.5"}).content.decode()
    assert "north" in page.lower()
    assert "2 studies" in page
    assert "CANARY" not in page
    assert "There is no version chest-net:9" in operator.get(address, {"version": "chest-net:9"}).content.decode()


def test_which_version_read_a_study_and_who_deployed_it(
    operator: Client, north: Any, version: Any, store_film: Any, read: Any, uid_of: Any
) -> None:
    pinned = activate(version=version, by=Actor(name="user:the-head"), tenant=north.tenant, reason="Trial.")
    film = store_film(north, size=256).instance
    read(film, Mass=0.7)
    # What is changed later did not read it.
    set_points(
        tenant=north.tenant, version=version, by=Actor(name="user:another"), recent={},
        choices={"Mass": PointChoice("manual", value=0.9, reason="Later.")},
    )  # fmt: skip
    study_id = InferenceJob.objects.using("dispatch").values_list("study_id", flat=True).get()

    (reading,) = readings_of(study_id)
    assert (reading.version, reading.entry, reading.tenant) == (version, pinned, north.tenant)
    page = operator.get(reverse("admin:deployment_operatingpoint_read_by"), {"study": str(study_id)}).content.decode()
    assert version.sha256 in page
    assert "user:the-head" in page
    assert "user:another" not in page
    assert "Mass 0.500" in page
    by_uid = operator.get(reverse("admin:deployment_operatingpoint_read_by"), {"study": uid_of(film)}).content.decode()
    assert version.sha256 in by_uid
    unknown = operator.get(reverse("admin:deployment_operatingpoint_read_by"), {"study": str(north.tenant.pk)})
    assert "No version has read a study of this id" in unknown.content.decode()


def test_a_pinned_tenants_study_leads_to_the_entry_that_pinned_it(
    north: Any, south: Any, version: Any, store_film: Any, read: Any
) -> None:
    pinned = activate(version=version, by=Actor(name="test"), tenant=north.tenant)
    activate(version=registered(4), by=Actor(name="test"))
    again = activate(version=version, by=Actor(name="test"))
    for hospital, entry in ((north, pinned), (south, again)):
        film = store_film(hospital, size=256)
        read(film.instance, Mass=0.7)
        assert [each.entry for each in readings_of(film.study.pk)] == [entry]
    # A change of points and its taking back let no version read.
    by_hand = {"Mass": PointChoice("manual", value=0.9, reason="Tried.")}
    set_points(tenant=north.tenant, version=version, choices=by_hand, recent={}, by=Actor(name="test"))
    roll_back(tenant=north.tenant, by=Actor(name="test"))
    film = store_film(north, seed=3, size=256)
    read(film.instance, Mass=0.7)
    assert [each.entry for each in readings_of(film.study.pk)] == [pinned]
    with tenant_tx(north.tenant.pk):
        assert AuditEvent.objects.filter(action="operating-points.changed").count() == 2
        assert not AuditEvent.objects.filter(action="model.rolled_back").exists()
    unpinned = unpin(tenant=north.tenant, by=Actor(name="test"))
    film = store_film(north, seed=2, size=256)
    read(film.instance, Mass=0.7)
    assert [each.entry for each in readings_of(film.study.pk)] == [unpinned]


def test_a_study_read_by_a_canary_leads_to_the_canarys_entry(
    north: Any, version: Any, store_film: Any, read: Any
) -> None:
    tried = registered(4)
    entry = challenge(version=tried, by=Actor(name="user:the-head"), tenant=north.tenant, percent=99)
    canary = Canary(Challenger.objects.get().pk, 100, tried)
    study = store_film(north, size=256).study
    (job,) = claim_jobs(limit=1, version=version, worker="test", canaries={north.tenant.pk: canary})
    assert job.version_id == tried.pk
    (reading,) = readings_of(study.pk)
    assert (reading.version, reading.entry) == (tried, entry)
