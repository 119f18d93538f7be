"""The result as a Comprehensive 3D SR with template TID 1500, Measurement Report (PS3.16)."""

from typing import Any, Final

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from apps.results.objects import codes as own
from apps.results.objects.content import (
    CalledFinding,
    ObjectIdentity,
    Predecessor,
    ResultContent,
    Signature,
    SourceImage,
    derived_uid,
)
from apps.results.objects.identity import (
    add_common,
    hierarchical_reference,
    long_string,
    person_name,
)

SERIES_NUMBER: Final = 9002
DESCRIPTION: Final = "AI result, structured report"


def build_structured_report(content: ResultContent, identity: ObjectIdentity) -> Dataset:
    """Build the report: one group of measurements for the study and one for each finding.

    It is UNVERIFIED and PRELIMINARY until the report of the study is signed, and then VERIFIED by the signer.
    """
    report = MeasurementReport(
        observation_context=_observers(content),
        procedure_reported=own.CHEST_RADIOGRAPHY,
        imaging_measurements=[
            _study_group(content),
            *(_finding_group(content, each) for each in content.findings),
            *_added_groups(content),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    # Not by highdicom's class for this SOP class: it copies the content, which takes longer than all else.
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = Comprehensive3DSRStorage
    dataset.Modality = "SR"
    dataset.SeriesNumber = SERIES_NUMBER
    add_common(dataset, content, identity, DESCRIPTION)
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    _add_states(dataset, content.signature)
    if content.images:
        dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(content)]
    if identity.predecessor is not None:
        dataset.PredecessorDocumentsSequence = [_reference(content, identity.predecessor)]
    for element in report[0]:
        dataset.add(element)
    return dataset


def _reference(content: ResultContent, to: SourceImage | Predecessor) -> Dataset:
    return hierarchical_reference(content.study_instance_uid, to.series_instance_uid, to)


def _evidence(content: ResultContent) -> Dataset:
    """One item for the study, with one for each series (PS3.3 C.17.2.3)."""
    first, *others = (_reference(content, image) for image in content.images)
    for each in others:
        (series,) = each.ReferencedSeriesSequence
        known = {one.SeriesInstanceUID: one for one in first.ReferencedSeriesSequence}
        if series.SeriesInstanceUID in known:
            known[series.SeriesInstanceUID].ReferencedSOPSequence.extend(series.ReferencedSOPSequence)
        else:
            first.ReferencedSeriesSequence.append(series)
    return first


def _add_states(dataset: Dataset, signature: Signature | None) -> None:
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "VERIFIED" if signature else "UNVERIFIED"
    dataset.PreliminaryFlag = "FINAL" if signature else "PRELIMINARY"
    if signature is not None:
        observer = Dataset()
        observer.VerifyingObserverName = person_name(signature.signer)
        observer.VerifyingOrganization = long_string(signature.organization)
        observer.VerificationDateTime = f"{signature.at:%Y%m%d%H%M%S%z}"
        observer.VerifyingObserverIdentificationCodeSequence = []
        dataset.VerifyingObserverSequence = [observer]


def _observers(content: ResultContent) -> ObservationContext:
    algorithm, signature = content.algorithm, content.signature
    device = DeviceObserverIdentifyingAttributes(
        uid=algorithm.device_uid,
        name=long_string(f"{algorithm.name} {algorithm.version}"),
        manufacturer_name=content.manufacturer,
        model_name=long_string(algorithm.name),
    )
    person = None
    if signature is not None:
        person = ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(
                name=f"{person_name(signature.signer)}^", organization_name=long_string(signature.organization)
            ),
        )
    return ObservationContext(
        observer_person_context=person,
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device),
    )


def _study_group(content: ResultContent) -> MeasurementsAndQualitativeEvaluations:
    """What holds for the whole study: whether it was read, the score for any finding, and the texts."""
    measurements, evaluations = [], [QualitativeEvaluation(name=own.SUMMARY, value=_summary(content))]
    if content.probability_any is not None and content.threshold_any is not None:
        measurements = _measurements(content.probability_any, content.threshold_any)
        is_positive = content.probability_any >= content.threshold_any
        value = own.POSITIVE if is_positive else own.NEGATIVE
        evaluations.append(QualitativeEvaluation(name=own.INTERPRETATION, value=value))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(content, "study"),
        finding_type=own.ANY_FINDING,
        algorithm_id=_algorithm(content, with_device=True),
        measurements=measurements or None,
        qualitative_evaluations=evaluations,
        source_images=_source_images(content),
    )
    for code, text in _texts(content):
        _add_text(group, code, text)
    return group


def _add_text(group: Any, code: Any, text: str) -> None:
    group[0].ContentSequence.append(
        TextContentItem(
            name=CodedConcept.from_code(code), value=text, relationship_type=RelationshipTypeValues.CONTAINS
        )
    )


def _summary(content: ResultContent) -> Any:
    if content.refusal:
        return own.NOT_READ
    if content.is_partial:
        return own.NOT_ALL_WITH_FINDINGS if content.positives else own.NOT_ALL_WITHOUT_FINDINGS
    return own.WITH_FINDINGS if content.positives else own.WITHOUT_FINDINGS


_RECALIBRATED = (
    "Probabilities and operating points of the findings are recalibrated for this hospital; the score for any finding "
    "is on the version's own scale."
)


def _texts(content: ResultContent) -> list[tuple[Any, str]]:
    scale = _RECALIBRATED if content.is_recalibrated else ""
    texts = [(own.COMMENT, text) for text in (content.notice, *content.remarks, scale) if text]
    if content.refusal:
        code, reason = content.refusal
        texts.append((own.COMMENT, f"No AI result ({code}): {reason}"))
    if content.signature is not None:
        if content.signature.impression:
            texts.append((own.IMPRESSION, content.signature.impression))
        texts += [(own.COMMENT, f"Addendum: {text}") for text in content.signature.addenda]
        if content.signature.reason:
            texts.append((own.COMMENT, f"Reason of the amendment: {content.signature.reason}"))
    return texts


def _finding_group(content: ResultContent, finding: CalledFinding) -> Any:
    evaluations = []
    if finding.threshold is not None:
        called = own.POSITIVE if finding.positive else own.NEGATIVE
        value = own.UNCERTAIN if finding.uncertain else called
        evaluations.append(QualitativeEvaluation(name=own.INTERPRETATION, value=value))
    if finding.verdict:
        evaluations.append(QualitativeEvaluation(name=own.VERDICT, value=own.VERDICTS[finding.verdict]))
    values: dict[str, Any] = {
        "tracking_identifier": _tracking(content, finding.label),
        "finding_type": own.finding_code(finding.label),
        "algorithm_id": _algorithm(content),
        "measurements": _measurements(finding.probability, finding.threshold),
        "qualitative_evaluations": evaluations or None,
    }
    return _group(values, finding.region, content.source)


def _added_groups(content: ResultContent) -> list[Any]:
    """The findings that the reader added: without a probability, and not of the algorithm."""
    groups = []
    for number, added in enumerate(content.signature.added if content.signature else (), start=1):
        values = {
            "tracking_identifier": _tracking(content, f"reader {number}"),
            "finding_type": own.FINDINGS.get(added.label, own.READER_FINDING),
            "qualitative_evaluations": [QualitativeEvaluation(name=own.VERDICT, value=own.SUPPLEMENTED)],
        }
        group = _group(values, added.region, added.image)
        _add_text(group, own.COMMENT, added.name)
        groups.append(group)
    return groups


def _group(values: dict[str, Any], region: tuple[float, float, float, float] | None, image: SourceImage | None) -> Any:
    if region is None or image is None:
        # The source image is that of the study's group: TID 1501 takes all images of the document.
        return MeasurementsAndQualitativeEvaluations(**values)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        **values, referenced_region=_region(region, image), geometric_purpose=own.BOUNDED_BY
    )


def _region(box: tuple[float, float, float, float], image: SourceImage) -> ImageRegion:
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    return ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=corners,
        source_image=SourceImageForRegion(
            referenced_sop_class_uid=image.sop_class_uid, referenced_sop_instance_uid=image.sop_instance_uid
        ),
    )


def _source_images(content: ResultContent) -> list[SourceImageForMeasurementGroup] | None:
    if content.source is None:
        return None
    return [SourceImageForMeasurementGroup(content.source.sop_class_uid, content.source.sop_instance_uid)]


def _tracking(content: ResultContent, what: str) -> TrackingIdentifier:
    return TrackingIdentifier(uid=derived_uid("tracking", content.reading, what), identifier=what)


def _algorithm(content: ResultContent, *, with_device: bool = False) -> AlgorithmIdentification:
    """TID 4019. It has no item for the device UID, so the UID is a parameter, beside the device observer's."""
    return AlgorithmIdentification(
        name=content.algorithm.name,
        version=content.algorithm.version,
        parameters=[f"device UID {content.algorithm.device_uid}"] if with_device else None,
    )


def _measurements(probability: float, threshold: float | None) -> list[Measurement]:
    found = [Measurement(name=own.PROBABILITY, value=_number(probability), unit=own.UNITY)]
    if threshold is not None:
        found.append(Measurement(name=own.THRESHOLD, value=_number(threshold), unit=own.UNITY))
    return found


def _number(value: float) -> float:
    """Six digits: a DS value has at most 16 characters."""
    return round(value, 6)
