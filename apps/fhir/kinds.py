"""The kinds of resources: their rows, the order of a search, and how one of them and a page of them is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet

from apps.audit.models import AuditEvent
from apps.core.errors import NotFoundError
from apps.deployment.selectors import versions_of_results
from apps.fhir.resources.device import device
from apps.fhir.resources.diagnostic_report import diagnostic_report
from apps.fhir.resources.imaging_study import imaging_study
from apps.fhir.resources.observation import observation
from apps.fhir.selectors import findings, get_study, hospital_zone, parse_id, results_of, series_of, studies
from apps.inference.models import Finding
from apps.registry.models import ModelVersion
from apps.studies.models import Study
from apps.tenants.scope import current_tenant_id


@dataclass(frozen=True)
class Kind:
    """A kind of resource.

    Attributes:
        rows: all of the tenant in force.
        order: columns that together are unique; a search returns the highest first.
        place: a row's values in these columns.
        build: resources of rows; the second argument is the address of the DICOMweb service.
        find: the row of an id; raises NotFoundError.
        study: the study of a row, for the audit trail.
        action: what the audit trail calls the read of one.
    """

    name: str
    rows: Callable[[], "QuerySet[Any]"]
    order: tuple[str, ...]
    place: Callable[[Any], tuple[UUID, ...]]
    build: Callable[[Sequence[Any], str], list[dict[str, Any]]]
    find: Callable[[str], Any]
    study: Callable[[Any], UUID] | None = None
    action: AuditEvent.Action = AuditEvent.Action.STUDY_VIEWED


def _imaging_studies(rows: Sequence[Study], dicomweb: str) -> list[dict[str, Any]]:
    series, zone = series_of(rows), hospital_zone()
    return [imaging_study(study, series[study.pk], zone=zone, dicomweb=dicomweb) for study in rows]


def _diagnostic_reports(rows: Sequence[Study], _dicomweb: str) -> list[dict[str, Any]]:
    return [diagnostic_report(result) for result in results_of(rows)]


def _observations(rows: Sequence[Finding], _dicomweb: str) -> list[dict[str, Any]]:
    of_studies = {finding.job.study_id: finding.job.study for finding in rows}
    results = {result.study.pk: result for result in results_of(list(of_studies.values()))}
    return [observation(finding, results[finding.job.study_id]) for finding in rows]


def _devices(rows: Sequence[ModelVersion], _dicomweb: str) -> list[dict[str, Any]]:
    return [device(version) for version in rows]


def _all_findings() -> "QuerySet[Finding]":
    return findings().select_related("job__study__patient")


def _all_versions() -> "QuerySet[ModelVersion]":
    # The manifest of a version is large and not needed here.
    return versions_of_results(current_tenant_id()).defer("manifest")


def _find(rows: "QuerySet[Any]", text: str, kind: str) -> Any:
    found = rows.filter(pk=parse_id(text, kind)).first()
    if found is None:
        raise NotFoundError(f"There is no {kind} with this id.", "not-found")
    return found


_KINDS: Final = (
    Kind(
        name="ImagingStudy",
        rows=studies,
        order=("id",),
        place=lambda study: (study.pk,),
        build=_imaging_studies,
        find=lambda text: get_study(text, "ImagingStudy"),
        study=lambda study: study.pk,
    ),
    Kind(
        name="DiagnosticReport",
        rows=studies,
        order=("id",),
        place=lambda study: (study.pk,),
        build=_diagnostic_reports,
        find=lambda text: get_study(text, "DiagnosticReport"),
        study=lambda study: study.pk,
        action=AuditEvent.Action.REPORT_READ,
    ),
    Kind(
        name="Observation",
        rows=_all_findings,
        # By reading first: there is an index for it, and the findings of a reading stay together.
        order=("job_id", "id"),
        place=lambda finding: (finding.job_id, finding.pk),
        build=_observations,
        find=lambda text: _find(_all_findings(), text, "Observation"),
        study=lambda finding: finding.job.study_id,
    ),
    Kind(
        name="Device",
        rows=_all_versions,
        order=("id",),
        place=lambda version: (version.pk,),
        build=_devices,
        find=lambda text: _find(_all_versions(), text, "Device"),
    ),
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _KINDS}
