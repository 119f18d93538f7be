"""Reading the registry."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from apps.core.errors import UnavailableError
from apps.deployment.models import Activation, Challenger, Deployment, Offer, OperatingPoint
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

# Written out: they are asked before each batch and after it, and by the ORM they cost three times as much.
_DEPLOYMENTS = "select for_tenant_id, model_version_id from registry_deployment"
_OPEN_CHALLENGERS = "select * from registry_challenger where ended is null"
# In the order of the challenger's fields, as `from_db` wants them.
_POINTED = ("id", "for_tenant_id", "model_version_id", "mode", "percent")
_POINTERS = """
select null as id, for_tenant_id, model_version_id, null as mode, null as percent from registry_deployment
 union all
select id, for_tenant_id, model_version_id, mode, percent from registry_challenger where ended is null
"""


def deployments() -> Mapping[UUID | None, UUID]:
    """The version in service for whom: the key None is the platform's, the others are tenants that are pinned."""
    with connection.cursor() as cursor:
        cursor.execute(_DEPLOYMENTS)
        return dict(cursor.fetchall())


def version_for(tenant_id: UUID) -> ModelVersion | None:
    """The version that reads for a tenant: the one that it is pinned to, or else the platform's."""
    own_first = F("for_tenant").asc(nulls_last=True)
    rows = Deployment.objects.select_related("model_version").order_by(own_first)
    deployment = rows.filter(Q(for_tenant=tenant_id) | Q(for_tenant=None)).first()
    return deployment.model_version if deployment else None


def nameable_versions(tenant_id: UUID) -> "QuerySet[ModelVersion]":
    """The versions that a tenant's people and keys may name: what reads or has read there, and what is offered.

    A retired version is none, nor is a shadow under way there: nobody is to see what it says. What another tenant alone
    is read by stays unknown.
    """
    mine = Q(for_tenant=tenant_id) | Q(for_tenant=None)
    version = {"model_version": OuterRef("pk")}
    serving = version_for(tenant_id)
    reads = Q(pk=serving.pk) if serving else Q(pk__in=[])
    has_read = Exists(Activation.objects.filter(mine, act__in=Activation.LETS_READ, to_version=OuterRef("pk")))
    offered = Exists(Offer.objects.filter(mine, **version))
    shadows = Exists(Challenger.objects.filter(mine, mode=Challenger.Mode.SHADOW, ended=None, **version))
    return ModelVersion.objects.filter(reads | (~shadows & (has_read | offered)), retired=None)


def open_challengers() -> Mapping[UUID | None, Challenger]:
    """The challengers under way: the key None is the platform's, the others are one tenant's."""
    return {row.for_tenant_id: row for row in Challenger.objects.raw(_OPEN_CHALLENGERS)}


def deployments_and_challengers() -> tuple[Mapping[UUID | None, UUID], Mapping[UUID | None, Challenger]]:
    """Both `deployments` and `open_challengers`, these by their id, version, mode and percent alone."""
    with connection.cursor() as cursor:
        cursor.execute(_POINTERS)
        rows = cursor.fetchall()
    serving = {tenant_id: version_id for challenger_id, tenant_id, version_id, *_ in rows if challenger_id is None}
    challengers = [Challenger.from_db("default", _POINTED, row) for row in rows if row[0] is not None]
    return serving, {each.for_tenant_id: each for each in challengers}


def challenger_for(tenant_id: UUID) -> Challenger | None:
    """The challenger among a tenant's studies: its own, or else the platform's, unless the tenant is pinned."""
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


# Asked with each batch's results, as `open_challengers` is.
_CHOSEN_POINTS = (
    "select * from registry_operatingpoint where model_version_id = %s and for_tenant_id = %s order by label"
)


def operating_points(version: ModelVersion, tenant_id: UUID) -> dict[str, dict[str, Any] | None]:
    """What each finding is judged by for a tenant: the point that it chose, or the version's own; None for none."""
    chosen = OperatingPoint.objects.raw(_CHOSEN_POINTS, [version.pk, tenant_id])
    return {**version.thresholds, **{row.label: Point.of(row).to_dict() for row in chosen}}


def thresholds_for(version: ModelVersion, tenant_id: UUID) -> Mapping[str, float | None]:
    """The threshold of each finding for a tenant: positive at or above it; None where there is no operating point."""
    points = operating_points(version, tenant_id)
    return {label: point["value"] if point else None for label, point in points.items()}


def with_state(versions: "QuerySet[ModelVersion]") -> "QuerySet[ModelVersion]":
    """Versions with what `version_state` looks at."""
    challenging = Challenger.objects.filter(model_version=OuterRef("pk"), ended=None)
    return versions.annotate(
        is_serving=Exists(Deployment.objects.filter(model_version=OuterRef("pk")))
        | Exists(challenging.filter(mode=Challenger.Mode.CANARY)),
        is_shadow=Exists(challenging.filter(mode=Challenger.Mode.SHADOW)),
        is_measured=Exists(Evaluation.objects.filter(model_version=OuterRef("pk"))),
    )


def version_state(version: Any) -> str:
    """Candidate, verified once it was measured on unseen films and no gate is shut, shadow, serving, or retired.

    A canary serves: patients are read by it.
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
    if may_be_released(gates):
        return "Verified"
    if failed_gates(gates):
        return "Candidate: gate failed"
    waits = any(gate.state == ReleaseGateState.WAITING for gate in gates)
    return "Candidate: gate waits" if waits else "Candidate: gate not judged"
