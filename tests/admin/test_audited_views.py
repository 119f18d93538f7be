"""Each console page that shows data of a tenant writes one audit event, in that tenant's trail only."""

from typing import Any

from django.test import Client
from django.urls import reverse

from apps.deployment.models import PreviewJob
from apps.inference.models import InferenceJob
from apps.registry.models import ModelVersion
from apps.tenants.scope import tenant_tx
from tests.admin.console_views import console_views
from tests.conftest import Hospital


def test_pages_about_tenants(
    operator: Client, north: Hospital, south: Hospital, version: Any, store_film: Any, read: Any, uid_of: Any
) -> None:
    film = store_film(north, size=256, patient_name="CANARY^JANE").instance
    read(film, Mass=0.7)
    with tenant_tx(north.tenant.pk):
        job = InferenceJob.objects.latest("id")
    jobs = "admin:inference_inferencejob"
    read_by = "admin:deployment_operatingpoint_read_by"
    person = reverse("admin:accounts_user_change", args=[north.radiologist.pk])
    visits: list[tuple[str, str, dict[str, str]]] = [
        (f"{jobs}_changelist", reverse(f"{jobs}_changelist"), {}),
        (f"{jobs}_change", reverse(f"{jobs}_change", args=[job.pk]), {}),
        (
            "admin:deployment_operatingpoint_what_if",
            reverse("admin:deployment_operatingpoint_what_if", args=["north"]),
            {},
        ),
        (read_by, reverse(read_by), {"version": "chest-net:3", "label": "Mass"}),
        (read_by, reverse(read_by), {"study": uid_of(film)}),
        ("admin:tenants_tenant_change", reverse("admin:tenants_tenant_change", args=[north.tenant.pk]), {}),
        ("admin:accounts_user_change", person, {}),
    ]
    for _, address, query in visits:
        assert operator.get(address, query).status_code == 200, address

    assert console_views(north.tenant) == [name for name, _, _ in visits]
    assert console_views(south.tenant) == []


def test_previews(operator: Client, north: Hospital, south: Hospital, pair: tuple[ModelVersion, ModelVersion]) -> None:
    ask = reverse("admin:registry_modelversion_preview", args=[pair[1].pk])
    assert operator.post(ask, {"tenant": north.tenant.pk, "last": "10"}).status_code == 302
    jobs = "admin:deployment_previewjob"
    operator.get(reverse(f"{jobs}_changelist"))
    operator.get(reverse(f"{jobs}_change", args=[PreviewJob.objects.get().pk]))
    # The list of tenants, and pages of the platform, show nothing of any of them.
    for name in ("tenants_tenant", "deployment_deployment", "inference_worker", "accounts_user"):
        operator.get(reverse(f"admin:{name}_changelist"))

    assert console_views(north.tenant) == [f"{jobs}_changelist", f"{jobs}_change"]
    assert console_views(south.tenant) == []
