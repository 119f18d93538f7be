"""The operator's console: every page loads for operators only, and no page names a patient."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.core.identifiers import uuid7
from apps.deployment.models import Activation, Deployment
from apps.deployment.selectors import version_for
from apps.inference.models import Finding, HeatmapGrids, InferenceJob, Worker
from apps.registry.models import ModelVersion
from apps.reports.models import BlindStep, FindingReview, ReaderFinding, Report, ReportDraft
from apps.studies.models import Instance, Patient, Series, Study
from apps.tenants.models import ApiClient, Membership, Tenant
from apps.tenants.scope import tenant_tx
from apps.training.models import TrainingRun
from apps.training.runs import record_progress, start_training_run
from tests.conftest import PASSWORD
from tests.training.progress import epoch, start


@pytest.fixture
def filled(north: Any, south: Any, store_film: Any, version: Any) -> Iterator[Any]:
    """A platform with something on every page, and a patient whose name must appear on none."""
    from django.db.models.functions import Now

    store_film(north, size=256, patient_name="CANARY^JANE", patient_id="CANARY-7", accession_number="CANARY-8")
    Worker.objects.create(name="gpu-1", device="H200", model_version=version, last_seen=Now())
    run = start_training_run(
        name="chest-net", architecture="densenet121", settings={}, epochs=4, folder=Path("/training"), nodes="3",
        by=Actor(name="cli:test"), run_id=uuid7(),
    )  # fmt: skip
    record_progress(run_id=run.pk, events=[start(), epoch(1)])
    return version


def pages() -> list[tuple[str, Any]]:
    return [
        (f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", model) for model in admin.site._registry
    ]


def addresses() -> list[str]:
    """Every page that can be asked for with GET: lists, objects, and the console's own."""
    found = [reverse("admin:index")]
    for name, model in pages():
        found.append(reverse(name))
        alias = "dispatch" if model is InferenceJob else "default"
        first = model._default_manager.using(alias).values_list("pk", flat=True).first()
        if first is not None:
            found.append(reverse(name.replace("changelist", "change"), args=[first]))
    tenant, version, run = Tenant.objects.first(), ModelVersion.objects.first(), TrainingRun.objects.first()
    assert tenant is not None
    assert version is not None
    assert run is not None
    return [
        *found,
        reverse("admin:tenants_tenant_add"),
        reverse("admin:accounts_user_invite"),
        reverse("admin:tenants_tenant_first_admin", args=[tenant.pk]),
        reverse("admin:tenants_tenant_revoke", args=[tenant.pk, tenant.pk]),
        reverse("admin:registry_modelversion_activate", args=[version.pk]),
        reverse("admin:registry_modelversion_retire", args=[version.pk]),
        reverse("admin:registry_modelversion_card", args=[version.pk]),
        reverse("admin:deployment_operatingpoint_what_if", args=[tenant.slug]),
        reverse("admin:deployment_operatingpoint_read_by") + "?version=chest-net:3&label=Mass",
        reverse("admin:deployment_deployment_roll_back"),
        reverse("admin:deployment_deployment_unpin", args=[tenant.slug]),
        reverse("admin:training_trainingrun_live", args=[run.pk]),
    ]


def test_every_page_loads_for_an_operator_and_names_no_patient(operator: Client, filled: Any) -> None:
    operator.post(reverse("admin:deployment_deployment_roll_back"), {"reason": "Leaves an entry in the log?"})
    visited = addresses()
    assert len(visited) >= 20
    for address in visited:
        page = operator.get(address)
        assert page.status_code == 200, address
        assert "CANARY" not in page.content.decode(), address
        assert "unsafe" not in page["Content-Security-Policy"]
        assert "style=" not in page.content.decode(), address


def test_other_users_are_refused(north: Any, filled: Any, sign_in: Any) -> None:
    for client in (Client(), sign_in(north, north.admin), sign_in(north, north.radiologist)):
        for address in addresses():
            answer = client.get(address)
            assert answer.status_code in (302, 403), address
            assert answer.status_code == 403 or "/login/" in answer["Location"]


def test_no_table_of_a_tenant_is_registered_but_the_queue() -> None:
    tenants_data: set[Any] = {
        Study,
        Series,
        Instance,
        Patient,
        Finding,
        HeatmapGrids,
        Report,
        ReportDraft,
        FindingReview,
        ReaderFinding,
        BlindStep,
    }
    tenants_data |= {AuditEvent, Membership, ApiClient, Report, ReportDraft}
    assert not tenants_data & set(admin.site._registry)


def test_the_queue_names_hospitals_and_versions(operator: Client, filled: Any) -> None:
    page = operator.get(reverse("admin:inference_inferencejob_changelist"), {"state__exact": "queued"})

    assert page.status_code == 200
    assert "north" in page.content.decode()


@pytest.mark.parametrize("model", [ModelVersion, Deployment, Activation, Worker, TrainingRun])
def test_records_cannot_be_changed_in_the_console(operator: Client, filled: Any, model: Any) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    first = model._default_manager.first()
    assert operator.get(reverse(f"{name}_add")).status_code == 403
    assert operator.post(reverse(f"{name}_change", args=[first.pk]), {"reason": "x"}).status_code == 403
    assert operator.post(reverse(f"{name}_delete", args=[first.pk]), {"post": "yes"}).status_code == 403


def test_a_revoked_key_is_refused_at_once(operator: Client, north: Any, south: Any) -> None:
    with tenant_tx(north.tenant.id):
        key = ApiClient.objects.get()
    address = reverse("admin:tenants_tenant_revoke", args=[north.tenant.pk, key.pk])
    foreign = reverse("admin:tenants_tenant_revoke", args=[south.tenant.pk, key.pk])

    page = operator.get(reverse("admin:tenants_tenant_change", args=[north.tenant.pk])).content.decode()
    assert address in page
    assert operator.get(address).status_code == 200
    assert operator.post(foreign).status_code == 404
    assert Client().get("/api/v1/studies/", headers=north.bearer).status_code == 200
    for _ in range(2):
        assert operator.post(address).status_code == 302
    assert Client().get("/api/v1/studies/", headers=north.bearer).status_code == 401


def test_bad_input_is_named(operator: Client) -> None:
    bad_ae = operator.post(reverse("admin:tenants_tenant_add"), {"name": "x", "slug": "x", "ae_title": "lower case"})

    assert b"1 to 16 of A-Z" in bad_ae.content


def test_a_version_is_activated_with_a_reason_and_rolled_back(operator: Client, version: Any) -> None:
    other = ModelVersion.objects.create(
        name="chest-net", number=4, sha256="f" * 64, manifest=version.manifest, device_uid="2.25.2"
    )
    address = reverse("admin:registry_modelversion_activate", args=[other.pk])

    assert b"This field is required" in operator.post(address, {}).content
    given = {"reason": "Better on small nodules."}
    assert b"No preview shows what chest-net:4 would change" in operator.post(address, given).content
    assert operator.post(address, {**given, "why_no_preview": "No study yet."}).status_code == 302
    assert b"in service already" in operator.post(address, {"reason": "again"}).content
    assert Deployment.objects.get().model_version == other
    entry = Activation.objects.first()
    assert entry is not None
    assert (entry.reason, entry.actor) == ("Better on small nodules.", f"user:{entry.by_id}")
    assert entry.why_no_preview == "No study yet."

    assert (
        operator.post(reverse("admin:deployment_deployment_roll_back"), {"reason": "Too many alarms."}).status_code
        == 302
    )
    assert Deployment.objects.get().model_version == version


def test_a_tenant_is_pinned_in_the_console(operator: Client, north: Any, south: Any, version: Any) -> None:
    other = ModelVersion.objects.create(
        name="chest-net", number=4, sha256="f" * 64, manifest=version.manifest, device_uid="2.25.2"
    )
    pin = reverse("admin:registry_modelversion_activate", args=[other.pk])
    given = {"tenant": north.tenant.pk, "reason": "A trial.", "why_no_preview": "No study yet."}
    assert operator.post(pin, given).status_code == 302
    assert version_for(north.tenant.pk) == other
    assert version_for(south.tenant.pk) == version
    page = operator.get(reverse("admin:deployment_deployment_changelist")).content.decode()
    assert "North Hospital" in page
    assert "roll-back/?tenant=north" in page
    for hospital, active in ((north, "chest-net:4"), (south, "chest-net:3")):
        listed = Client().get("/api/v1/models/", headers=hospital.bearer).json()["results"]
        assert [each["model_version"] for each in listed if each["in_service"]] == [active]

    unpin = reverse("admin:deployment_deployment_unpin", args=["north"])
    assert operator.post(unpin, {"reason": "The trial is over."}).status_code == 302
    assert version_for(north.tenant.pk) == version
    ledger = operator.get(reverse("admin:deployment_activation_changelist")).content.decode()
    assert "By tenant" in ledger
    assert "The platform" in ledger
    back = reverse("admin:deployment_deployment_roll_back") + "?tenant=north"
    assert operator.post(back, {"reason": "Not yet."}).status_code == 302
    assert version_for(north.tenant.pk) == other
    assert operator.get(reverse("admin:deployment_deployment_unpin", args=["nowhere"])).status_code == 404


def test_a_version_shows_its_figures(operator: Client, version: Any) -> None:
    page = operator.get(reverse("admin:registry_modelversion_change", args=[version.pk])).content.decode()

    assert version.sha256 in page
    assert "0.710 (0.660–0.760)" in page
    assert "Fewer than 10 positive films." in page
    assert "Put into service" in page


def test_an_operator_signs_in_by_email(db: None) -> None:
    User.objects.create_user("op@platform.example", PASSWORD, is_staff=True)

    answer = Client().post(reverse("admin:login"), {"username": "OP@platform.example", "password": PASSWORD})

    assert answer.status_code == 302
