"""Proposals to recalibrate a version's probabilities for one tenant, and what each would change on recent studies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.translation import gettext as _

from apps.audit.services import Actor
from apps.core.errors import InvalidInputError, UnavailableError
from apps.core.finding_names import finding_name
from apps.deployment.models import Recalibration
from apps.deployment.selectors import recalibration_for, thresholds_for
from apps.deployment.services import propose_recalibration
from apps.inference.models import Finding
from apps.registry import engine
from apps.registry.models import ModelVersion
from apps.registry.services import fetch_artifact
from apps.reports.models import Report
from apps.reports.selectors import presence_of
from apps.tenants.models import Tenant
from apps.trials.recent import recent_readings

FEWEST_REVIEWED = 200
FEWEST_OF_EACH = 10
# Readers may review what is flagged and leave out the rest; a fit on such a selection would be wrong for the others.
LOWEST_COVERAGE = 0.8
LAST = 1000
LOWEST_PREVALENCE, HIGHEST_PREVALENCE = 0.0001, 0.95

_Fits = dict[str, dict[str, float]]


@dataclass
class ReviewedFinding:
    """One finding on the signed studies of a version: its own probabilities, the readers' verdicts, whose film."""

    signed: int = 0
    probabilities: list[float] = field(default_factory=list)
    present: list[bool] = field(default_factory=list)
    patients: list[UUID] = field(default_factory=list)


def own_prevalence(version: ModelVersion) -> dict[str, float]:
    """The share of films with each finding among those that the version was calibrated on, where it records it."""
    shares = _held_out_prevalence(version)
    if shares is None:
        measured = version.manifest["metrics"].get("validation", {})
        films, labels = measured.get("n") or 1, measured.get("labels", {})
        shares = {label: (labels.get(label, {}).get("positives") or 0) / films for label in version.manifest["labels"]}
    return {label: share for label, share in shares.items() if 0.0 < share < 1.0}


def _held_out_prevalence(version: ModelVersion) -> dict[str, float] | None:
    """Each finding's share of the held-out films on which it is known; None where the version came without them."""
    try:
        record = engine.read_held_out(fetch_artifact(version))
    except (OSError, ValueError, UnavailableError):
        return None
    if record is None:
        return None
    known = ~np.isnan(record.truth)
    shares = np.nansum(record.truth, axis=0) / np.maximum(known.sum(axis=0), 1)
    return dict(zip(version.manifest["labels"], map(float, shares), strict=True))


def propose_prevalence(
    *, tenant: Tenant, version: ModelVersion, declared: Mapping[str, float], by: Actor
) -> Recalibration:
    """Propose to shift the probabilities of some findings to the prevalence that was declared for them.

    The other findings keep what is in force.

    Args:
        declared: the share of this tenant's studies with the finding, 0 to 1, by label.

    Raises:
        InvalidInputError: nothing was declared, a share is out of range, or the version does not record its own.
    """
    own, (fits, evidence) = own_prevalence(version), _in_force(version, tenant)
    if not declared:
        raise InvalidInputError(_("Declare the prevalence of at least one finding."), "nothing-declared")
    for label, share in declared.items():
        if label not in version.manifest["labels"]:
            raise InvalidInputError(
                _("%(label)s is not a finding of %(version)s.") % {"label": repr(label), "version": version}
            )
        if not LOWEST_PREVALENCE <= share <= HIGHEST_PREVALENCE:
            raise InvalidInputError(
                _("%(label)s: give the prevalence as a share from %(lowest)s to %(highest)s.")
                % {"label": finding_name(label), "lowest": LOWEST_PREVALENCE, "highest": HIGHEST_PREVALENCE}
            )
        if label not in own:
            raise InvalidInputError(
                _(
                    "%(label)s: %(version)s does not record how common it was among the films that it was "
                    "calibrated on. Recalibrate it from reviewed studies instead."
                )
                % {"label": finding_name(label), "version": version},
                "prevalence-unknown",
            )
        shift = engine.prior_shift(own[label], share)
        fits[label] = {"a": shift.a, "b": shift.b}
        evidence[label] = {"method": "prevalence", "own_prevalence": own[label], "declared_prevalence": share}
    return _propose(tenant, version, Recalibration.Method.PREVALENCE, fits, evidence, by)


def propose_from_verdicts(*, tenant: Tenant, version: ModelVersion, by: Actor) -> Recalibration:
    """Propose a fit on the readers' verdicts of signed studies. The tenant must be in force.

    Findings with too few verdicts keep what is in force; the evidence says why.

    Raises:
        InvalidInputError: fewer than `FEWEST_REVIEWED` signed studies have verdicts, or no finding can be fitted.
    """
    found, reviewed = reviewed_findings(version)
    if reviewed < FEWEST_REVIEWED:
        raise InvalidInputError(
            _("%(reviewed)s signed studies that %(version)s read have verdicts, and %(needed)s are needed.")
            % {"reviewed": reviewed, "version": version, "needed": FEWEST_REVIEWED},
            "too-few-reviewed",
        )
    fits, evidence = _in_force(version, tenant)
    fitted = 0
    for label in version.manifest["labels"]:
        each = found.get(label, ReviewedFinding())
        counts = _counts(each)
        if (reason := _too_few(**counts)) is not None:
            evidence[label] = {**evidence.get(label, {}), "note": reason, "counts": counts}
            continue
        fit = engine.fit_local(each.probabilities, each.present, each.patients)
        fits[label] = {"a": fit.platt.a, "b": fit.platt.b}
        evidence[label] = {
            "method": "verdicts",
            "n": len(each.present),
            "present": sum(each.present),
            "error_before": fit.error_before,
            "error_after": fit.error_after,
        }
        fitted += 1
    if not fitted:
        raise InvalidInputError(
            _(
                "No finding has enough verdicts on what is flagged and on what is not: readers must review every "
                "finding of a study. %(reason)s"
            )
            % {"reason": _too_few(**_counts(max(found.values(), key=lambda each: len(each.present))))},
            "too-few-verdicts",
        )
    return _propose(tenant, version, Recalibration.Method.VERDICTS, fits, evidence, by)


def propose_own(*, tenant: Tenant, version: ModelVersion, by: Actor) -> Recalibration:
    """Propose to return to the version's own probabilities."""
    return _propose(tenant, version, Recalibration.Method.OWN, {}, {}, by)


def propose_again(*, recalibration: Recalibration, by: Actor) -> Recalibration:
    """Propose an earlier recalibration once more, compared with what is in force now."""
    tenant, version = recalibration.for_tenant, recalibration.model_version
    return _propose(tenant, version, recalibration.method, recalibration.fits, recalibration.evidence, by)


def reviewed_findings(version: ModelVersion) -> tuple[dict[str, ReviewedFinding], int]:
    """The verdicts on signed studies that this version read, by label, and the number of studies with a verdict.

    To agree means that the version's call was right.
    """
    reports = {each.job_id: each for each in _reports(version).select_related("study")}
    findings: dict[Any, list[Finding]] = {}
    for finding in Finding.objects.filter(job__in=reports).select_related("job__recalibration"):
        findings.setdefault(finding.job_id, []).append(finding)
    found: dict[str, ReviewedFinding] = {}
    reviewed = set()
    for job_id, own in findings.items():
        presence = presence_of(reports[job_id], own)
        for finding in own:
            row = found.setdefault(finding.label, ReviewedFinding())
            row.signed += 1
            if finding.label not in presence:
                continue
            used, value = finding.job.recalibration, finding.probability
            row.probabilities.append(used.of_version(finding.label, value) if used else value)
            row.present.append(presence[finding.label])
            row.patients.append(reports[job_id].study.patient_id)
            reviewed.add(job_id)
    return found, len(reviewed)


def count_reviewed(version: ModelVersion) -> int:
    """The number of signed studies that this version read and that have a verdict."""
    return _reports(version).exclude(verdicts={}).count()


def _reports(version: ModelVersion) -> "QuerySet[Report]":
    """The signed reports in force on readings of this version."""
    latest = Report.objects.filter(study=OuterRef("study")).order_by("-number").values("pk")[:1]
    return Report.objects.filter(pk=Subquery(latest), job__model_version=version, study__withdrawn=None)


def note_of(evidence: Mapping[str, Any]) -> str:
    """Why a finding was not fitted, in the language in force; empty where it was."""
    counts = evidence.get("counts")
    return (_too_few(**counts) if counts else None) or evidence.get("note", "")


def _counts(each: ReviewedFinding) -> dict[str, int]:
    return {"n": len(each.present), "present": sum(each.present), "signed": each.signed}


def _too_few(*, n: int, present: int, signed: int) -> str | None:
    """Why a finding cannot be fitted; None where it can."""
    values = {"n": n, "present": present, "signed": signed}
    if n < FEWEST_REVIEWED:
        return _("%(n)d verdicts, and %(needed)d are needed.") % {**values, "needed": FEWEST_REVIEWED}
    if n < LOWEST_COVERAGE * signed:
        return _("Readers reviewed it on %(n)d of %(signed)d signed studies, and %(needed)d %% are needed.") % {
            **values, "needed": round(100 * LOWEST_COVERAGE)
        }  # fmt: skip
    if min(present, n - present) < FEWEST_OF_EACH:
        return _("Present on %(present)d of %(n)d studies; at least %(needed)d with and without are needed.") % {
            **values, "needed": FEWEST_OF_EACH
        }  # fmt: skip
    return None


def _in_force(version: ModelVersion, tenant: Tenant) -> tuple[_Fits, dict[str, Any]]:
    now = recalibration_for(version, tenant.pk)
    return (dict(now.fits), dict(now.evidence)) if now else ({}, {})


def _propose(
    tenant: Tenant, version: ModelVersion, method: str, fits: Mapping[str, Any], evidence: Mapping[str, Any], by: Actor
) -> Recalibration:
    proposed = Recalibration(fits=dict(fits))
    return propose_recalibration(
        tenant=tenant,
        version=version,
        method=method,
        fits=fits,
        evidence=evidence,
        preview=_preview(tenant, version, proposed),
        by=by,
    )


def _preview(tenant: Tenant, version: ModelVersion, proposed: Recalibration) -> dict[str, Any]:
    """For each label: mean probability, threshold and flags on recent studies, now and with the proposal.

    The operating points move along, so both numbers of flags are equal; they are counted as the results are written.
    """
    now = recalibration_for(version, tenant.pk) or Recalibration()
    readings, points = recent_readings(version=version, last=LAST), thresholds_for(version, tenant.pk)
    labels = {}
    for label in version.manifest["labels"]:
        values, point = [each.probabilities[label] for each in readings if label in each.probabilities], points[label]
        labels[label] = {
            name: {
                "mean": sum(used.shown(label, value) for value in values) / len(values) if values else None,
                "threshold": None if point is None else used.shown(label, point),
                "flagged": sum(point is not None and value >= point for value in values),
            }
            for name, used in (("now", now), ("then", proposed))
        }
    return {"studies": len(readings), "labels": labels}
