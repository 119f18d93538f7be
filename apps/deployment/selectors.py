"""Reads of deployment: versions in service, challengers, operating points, and the state of versions."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from apps.core.errors import UnavailableError
from apps.deployment.floor import failed_floor_checks
from apps.deployment.models import (
    Activation,
    AppliedRecalibration,
    Challenger,
    Deployment,
    Offer,
    OperatingPoint,
    Recalibration,
)
from apps.deployment.points import Point
from apps.deployment.release_gates import (
    ReleaseGateState,
    failed_gates,
    may_be_released,
    platform_version,
    release_gates_of,
)
from apps.evaluation.models import Evaluation
from apps.registry.models import ModelVersion


def deployments() -> Mapping[UUID | None, UUID]:
    """The id of the version in service by tenant id; the key None is the platform, the others are pinned tenants."""
    return dict(Deployment.objects.values_list("for_tenant_id", "model_version_id"))


def version_for(tenant_id: UUID) -> ModelVersion | None:
    """The version in service for a tenant: the one that it is pinned to, or else the platform's."""
    own_first = F("for_tenant").asc(nulls_last=True)
    rows = Deployment.objects.select_related("model_version").order_by(own_first)
    deployment = rows.filter(Q(for_tenant=tenant_id) | Q(for_tenant=None)).first()
    return deployment.model_version if deployment else None


def nameable_versions(tenant_id: UUID) -> "QuerySet[ModelVersion]":
    """The versions that a tenant's users and keys may name: those that read or have read there, and those on offer.

    Retired versions are left out, and so is a running shadow, whose results no clinician may see. Versions that only
    other tenants use are not named.
    """
    concerns_tenant = Q(for_tenant=tenant_id) | Q(for_tenant=None)
    version = {"model_version": OuterRef("pk")}
    serving = version_for(tenant_id)
    reads = Q(pk=serving.pk) if serving else Q(pk__in=[])
    has_read = _has_read(tenant_id)
    offered = Exists(Offer.objects.filter(concerns_tenant, **version))
    shadows = Exists(Challenger.objects.filter(concerns_tenant, mode=Challenger.Mode.SHADOW, ended=None, **version))
    return ModelVersion.objects.filter(reads | (~shadows & (has_read | offered)), retired=None)


def versions_of_results(tenant_id: UUID) -> "QuerySet[ModelVersion]":
    """The versions that a result of this tenant may be from: those that it may name, and those that read before."""
    return ModelVersion.objects.filter(Q(pk__in=nameable_versions(tenant_id)) | _has_read(tenant_id))


def _has_read(tenant_id: UUID) -> Exists:
    """Whether a version was let read for a tenant at any time."""
    concerns_tenant = Q(for_tenant=tenant_id) | Q(for_tenant=None)
    return Exists(Activation.objects.filter(concerns_tenant, act__in=Activation.LETS_READ, to_version=OuterRef("pk")))


def open_challengers() -> Mapping[UUID | None, Challenger]:
    """The running challengers by tenant id; the key None is the platform's."""
    return {row.for_tenant_id: row for row in Challenger.objects.filter(ended=None)}


def challenger_for(tenant_id: UUID) -> Challenger | None:
    """The challenger that reads a tenant's studies: its own, or else the platform's, unless the tenant is pinned."""
    found = open_challengers()
    if tenant_id not in found and None in found and Deployment.objects.filter(for_tenant=tenant_id).exists():
        return None
    return found.get(tenant_id) or found.get(None)


def require_platform_version() -> ModelVersion:
    """The platform's version.

    Raises:
        UnavailableError: none has been activated.
    """
    version = platform_version()
    if version is None:
        raise UnavailableError("No model version is in service: an operator must activate one.", "no-model-in-service")
    return version


def points_for(version: ModelVersion, tenant_id: UUID) -> dict[str, dict[str, Any] | None]:
    """Each finding's operating point for a tenant: the one that it chose, or the version's own; None for none.

    The values are on the version's own scale, whichever recalibration is in force.
    """
    chosen = OperatingPoint.objects.filter(model_version=version, for_tenant=tenant_id).order_by("label")
    return {**version.thresholds, **{row.label: Point.of(row).to_dict() for row in chosen}}


def thresholds_for(version: ModelVersion, tenant_id: UUID) -> Mapping[str, float | None]:
    """The threshold of each finding for a tenant: positive at or above it; None where there is no operating point."""
    points = points_for(version, tenant_id)
    return {label: point["value"] if point else None for label, point in points.items()}


def recalibration_for(version: ModelVersion, tenant_id: UUID) -> Recalibration | None:
    """The recalibration in force for a tenant; None where the version's own probabilities apply."""
    rows = AppliedRecalibration.objects.filter(model_version=version, for_tenant=tenant_id)
    found = rows.select_related("recalibration").first()
    return found.recalibration if found else None


def with_state(versions: "QuerySet[ModelVersion]") -> "QuerySet[ModelVersion]":
    """Versions with the annotations that `version_state` needs."""
    challenging = Challenger.objects.filter(model_version=OuterRef("pk"), ended=None)
    return versions.annotate(
        is_serving=Exists(Deployment.objects.filter(model_version=OuterRef("pk")))
        | Exists(challenging.filter(mode=Challenger.Mode.CANARY)),
        is_shadow=Exists(challenging.filter(mode=Challenger.Mode.SHADOW)),
        is_measured=Exists(Evaluation.objects.filter(model_version=OuterRef("pk"))),
    )


def version_state(version: Any) -> str:
    """Candidate, Verified, Shadow, Serving or Retired.

    A candidate is verified once it was evaluated on unseen films, passes the floor, and no release gate blocks it. A
    canary counts as serving, because it reads for patients.
    """
    if version.retired is not None:
        return "Retired"
    if version.is_serving:
        return "Serving"
    if version.is_shadow:
        return "Shadow"
    if not version.is_measured:
        return "Candidate"
    gates = release_gates_of(version)
    if failed_gates(gates):
        return "Candidate: release gate failed"
    if failed_floor_checks(version, platform_version()):
        return "Candidate: below the floor"
    if may_be_released(gates):
        return "Verified"
    waits = any(gate.state == ReleaseGateState.WAITING for gate in gates)
    return "Candidate: release gate waits" if waits else "Candidate: release gate not comparable"
