"""Creates the objects that a study lacks: collect, build, check, store. The jobs worker runs it, and nothing else.

It imports highdicom, which the web processes do not need.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from PIL import Image
from pydicom.dataset import Dataset

from apps.audit.services import Actor
from apps.core.errors import ChecxrayError
from apps.core.transactions import again_after_deadlock
from apps.inference.warnings import has_known_sides
from apps.registry import engine
from apps.reports.images import load_image
from apps.results.contents import ReadingResult, results_of
from apps.results.delivery import queue_objects
from apps.results.models import ResultJob, ResultKind, ResultObject
from apps.results.objects.capture import MOST_OUTLINES, SIDE, Outline, Picture, build_secondary_capture
from apps.results.objects.check import ObjectInvalid, check_object
from apps.results.objects.content import ObjectIdentity, Predecessor, ResultContent, content_key, derived_uid
from apps.results.objects.document import build_encapsulated_pdf
from apps.results.objects.identity import encode
from apps.results.objects.structured_report import build_structured_report
from apps.results.queue import RESULTS
from apps.results.selectors import newest_of_series, result_policy
from apps.studies.models import object_key
from apps.studies.services import put_instance, store_instance
from apps.studies.spool import Spool, SpooledFile, open_spool
from apps.studies.storage import local_path
from apps.tenants.scope import tenant_tx

# Full opacity would hide the anatomy under the strongest contributions.
_STRENGTH = 0.6
_BY = Actor(name="results")


@dataclass(frozen=True, eq=False)
class PlannedObject:
    """An object that a study lacks."""

    kind: ResultKind
    result: ReadingResult
    content: ResultContent
    key: str
    identity: ObjectIdentity
    replaces: ResultObject | None


@dataclass(frozen=True, eq=False)
class BuiltObject:
    """An object, and what the preflight finds in it."""

    plan: PlannedObject
    dataset: Dataset
    spooled: SpooledFile
    found: engine.Preflight


def create_results(*, job: ResultJob, tenant_id: UUID, study_id: UUID) -> None:
    """Create the objects that a study lacks, and complete the job that this worker holds.

    They become instances of their study as well, so DICOM peers find and get them like all others. No rule of the
    tenant about arriving objects is asked. No transaction is open while images are decoded and objects stored.

    Raises:
        UnavailableError: the storage did not answer, or an object cannot be read.
        ObjectInvalid: an object would not be accepted elsewhere; it is not stored.
    """
    with tenant_tx(tenant_id):
        planned = list(_planned(tenant_id, study_id))
    built = []
    with open_spool() as spool:
        for each in planned:
            built.append(_built(each, spool))
            put_instance(tenant_id=tenant_id, spooled=built[-1].spooled)
    again_after_deadlock(lambda: _store(job, tenant_id, built))


def _store(job: ResultJob, tenant_id: UUID, built: Sequence[BuiltObject]) -> None:
    with tenant_tx(tenant_id):
        # Another job for this study may have stored the same object meanwhile.
        uids = [each.plan.identity.sop_instance_uid for each in built]
        known = set(ResultObject.objects.filter(sop_instance_uid__in=uids).values_list("sop_instance_uid", flat=True))
        new = [each for each in built if each.plan.identity.sop_instance_uid not in known]
        ResultObject.objects.bulk_create(map(_row, new))
        for each in new:
            store_instance(spooled=each.spooled, found=each.found, by=_BY)
        queue_objects(uids)
        RESULTS.complete(job=job)


def _planned(tenant_id: UUID, study_id: UUID) -> Iterator[PlannedObject]:
    kinds = result_policy().kinds
    for result in results_of(study_id) if kinds else []:
        for kind in kinds:
            if (content := _content_for(kind, result)) is not None:
                plan = _plan(tenant_id, kind, result, content)
                if plan is not None:
                    yield plan


def _content_for(kind: ResultKind, result: ReadingResult) -> ResultContent | None:
    """What an object of this kind says; None where the reading has none of this kind."""
    content = result.content
    if kind == ResultKind.STRUCTURED_REPORT:
        return content
    if kind == ResultKind.ENCAPSULATED_PDF:
        return content if result.report is not None else None
    # A capture shows neither verdicts nor the signature, so those make no new one.
    unsigned = tuple(replace(finding, verdict="", region=None) for finding in content.findings)
    return replace(content, signature=None, findings=unsigned) if result.read_image else None


def _plan(tenant_id: UUID, kind: ResultKind, result: ReadingResult, content: ResultContent) -> PlannedObject | None:
    """The next object of the reading's series; None where the newest one says the same."""
    reading = (tenant_id, result.reading_id, kind.value)
    series = derived_uid("series", *reading)
    more = [result.report.pdf_sha256] if kind == ResultKind.ENCAPSULATED_PDF and result.report else []
    key = content_key(kind, content, *more)
    newest = newest_of_series(series)
    if newest is not None and newest.content_key == key:
        return None
    replaces = newest or _of_amended_report(kind, result)
    number = newest.number + 1 if newest else 1
    identity = ObjectIdentity(
        sop_instance_uid=derived_uid("instance", *reading, key, number),
        series_instance_uid=series,
        number=number,
        predecessor=Predecessor(replaces.sop_class_uid, replaces.sop_instance_uid, replaces.series_instance_uid)
        if replaces
        else None,
    )
    return PlannedObject(kind, result, content, key, identity, replaces)


def _of_amended_report(kind: ResultKind, result: ReadingResult) -> ResultObject | None:
    """The object of the signed version that an amendment on another reading replaces."""
    if kind == ResultKind.SECONDARY_CAPTURE or result.report is None or result.report.amends_id is None:
        return None
    return ResultObject.objects.filter(kind=kind, report=result.report.amends_id).order_by("-id").first()


def _built(plan: PlannedObject, spool: Spool) -> BuiltObject:
    try:
        dataset = _dataset(plan)
        data = encode(dataset)
    except ChecxrayError:
        raise
    except Exception as error:  # its text may contain a value of the patient, and texts of errors are logged and shown
        raise ObjectInvalid(f"The {plan.kind} could not be built ({type(error).__name__}).") from None
    check_object(data, plan.kind)
    spooled = spool.write(data)
    return BuiltObject(plan, dataset, spooled, engine.inspect(spooled.path))


def _dataset(plan: PlannedObject) -> Dataset:
    if plan.kind == ResultKind.STRUCTURED_REPORT:
        return build_structured_report(plan.content, plan.identity)
    if plan.kind == ResultKind.SECONDARY_CAPTURE:
        return build_secondary_capture(plan.content, plan.identity, _picture(plan.result))
    assert plan.result.report is not None
    with local_path(object_key(plan.result.report.tenant_id, plan.result.report.pdf_sha256)) as pdf:
        return build_encapsulated_pdf(plan.content, plan.identity, pdf.read_bytes())


def _picture(result: ReadingResult) -> Picture:
    assert result.job is not None
    assert result.read_image is not None
    grey = load_image(result.read_image)
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    overlay, outlines = None, []
    for label, heatmap in list(result.heatmaps.items())[:MOST_OUTLINES]:
        region = engine.strongest_region(heatmap.grid, heatmap.scale, heatmap.geometry, heatmap.inside)
        if region is None:
            continue
        outlines.append(Outline(label, region.mask))
        if overlay is None:
            overlay = engine.heatmap_rgba(
                heatmap.grid, heatmap.scale, heatmap.opacity * _STRENGTH, heatmap.geometry,
                rows=grey.height, columns=grey.width, inside=heatmap.inside,
            )  # fmt: skip
    return Picture(grey, overlay, outlines, has_known_sides(result.job))


def _row(built: BuiltObject) -> ResultObject:
    plan = built.plan
    return ResultObject(
        study_id=plan.result.study_id,
        job=plan.result.job,
        report=plan.result.report if plan.kind != ResultKind.SECONDARY_CAPTURE else None,
        kind=plan.kind,
        sop_class_uid=built.dataset.SOPClassUID,
        sop_instance_uid=plan.identity.sop_instance_uid,
        series_instance_uid=plan.identity.series_instance_uid,
        number=plan.identity.number,
        content_key=plan.key,
        replaces=plan.replaces,
        sha256=built.spooled.sha256,
        size=built.spooled.size,
    )
