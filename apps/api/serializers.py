"""The JSON of the API, as it is documented in the OpenAPI schema."""

import datetime
import re
from typing import Any, ClassVar

from rest_framework import serializers

from apps.inference.selectors import STUDY_STATUSES
from apps.registry import engine
from apps.reports.models import ReportStatus

LOCALISATIONS = ("validated", "not validated")
ORDERINGS = ("-received", "received", "-study_date", "study_date", "-top_probability", "top_probability")
DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE = 200
# A model version's name is a slug.
_VERSION_PATTERN = r"\A[-a-zA-Z0-9_]{1,100}:[0-9]{1,9}\Z"


class StudyDateField(serializers.CharField):
    """A date or a range of dates; its value is the first and the last day, each None where the range is open."""

    default_error_messages: ClassVar = {
        "invalid_range": "Give a date as 2026-11-20, or a range as 2026-11-01/2026-11-20, 2026-11-01/ or /2026-11-20."
    }

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        separator = "-" if re.fullmatch(r"(\d{8})?-(\d{8})?", text) else "/"
        first, is_range, last = text.partition(separator)
        days = (_day(first), _day(last if is_range else first))
        if days == (None, None) or any(day is None and given for day, given in zip(days, (first, last), strict=True)):
            self.fail("invalid_range")
        return days


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


class FindingSerializer(serializers.Serializer[Any]):
    label = serializers.ChoiceField(choices=engine.LABELS)  # type: ignore[assignment]
    probability = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated.")
    threshold = serializers.FloatField(
        allow_null=True, help_text="The operating point; null where the model version has none for this label."
    )
    positive = serializers.BooleanField(help_text="Whether the probability reaches the operating point.")
    uncertain = serializers.BooleanField(
        help_text="Whether the probability is so near to the operating point that a mirrored or slightly zoomed image "
        "may be called otherwise. `positive` counts as before."
    )
    localisation = serializers.ChoiceField(
        choices=LOCALISATIONS,
        help_text="validated: on radiologists' boxes the map of this finding points better than chance, and better "
        "than a guess from where the finding usually is. not validated: do not take the map for a location.",
    )
    heatmap_url = serializers.CharField()


class AbnormalSerializer(serializers.Serializer[Any]):
    """The study-level score."""

    probability = serializers.FloatField(
        min_value=0,
        max_value=1,
        help_text=(
            "That the image has any of the findings, calibrated. It stays on the version's own scale where a "
            "hospital's probabilities of findings are recalibrated."
        ),
    )
    threshold = serializers.FloatField(help_text="The operating point.")
    positive = serializers.BooleanField(help_text="Whether the probability reaches the operating point.")


class PatientSerializer(serializers.Serializer[Any]):
    """The patient of a study, with the demographics that the study's own images state."""

    name = serializers.CharField(
        allow_null=True,
        allow_blank=True,
        help_text="The raw PN value, with up to three component groups; null where it is not verified yet.",
    )
    patient_id = serializers.CharField(allow_blank=True)
    issuer = serializers.CharField(allow_blank=True)
    birth_date = serializers.DateField(allow_null=True)
    sex = serializers.CharField(allow_null=True, allow_blank=True)


class WarningSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable name, in kebab-case.")
    detail = serializers.CharField(help_text="The warning as text.")


class FormerReportSerializer(serializers.Serializer[Any]):
    url = serializers.CharField(help_text="The PDF that was signed; it never changes.")
    signed = serializers.DateTimeField()


class StudySerializer(serializers.Serializer[Any]):
    study_instance_uid = serializers.CharField()
    patient = PatientSerializer()
    demographics_conflict = serializers.BooleanField(
        help_text="Whether name, birth date, sex or PatientID of this study's images, or of the studies under its "
        "PatientID, contradict each other and no user has settled that yet."
    )
    accession_number = serializers.CharField(allow_blank=True)
    study_date = serializers.DateField(allow_null=True)
    modalities = serializers.ListField(
        child=serializers.CharField(), help_text="Of the series of the study, such as DX or SR; in alphabetical order."
    )
    read_instance_uid = serializers.CharField(
        allow_null=True, help_text="SOPInstanceUID of the image that was read; null until complete."
    )
    status = serializers.ChoiceField(choices=STUDY_STATUSES)
    reason = serializers.CharField(
        allow_null=True, help_text="Why the study was rejected, failed, or waits for the end of an outage."
    )
    reason_code = serializers.CharField(allow_null=True, help_text="The reason's stable name, in kebab-case.")
    warnings = WarningSerializer(
        many=True, help_text="What a reader should know about the image that was read, or about its patient."
    )
    model_version = serializers.CharField(allow_null=True, help_text="name:number")
    abnormal = AbnormalSerializer(allow_null=True, help_text="Null until complete, and for versions without it.")
    findings = FindingSerializer(many=True, help_text="All labels, most probable first; empty until complete.")
    report_url = serializers.CharField(allow_null=True)
    report_status = serializers.ChoiceField(
        choices=ReportStatus.choices,
        allow_null=True,
        help_text="The status of the signed report, if there is one. Later readings do not change it.",
    )
    former_reports = FormerReportSerializer(many=True, help_text="Signed versions that were amended, newest first.")
    new_images_since_report = serializers.BooleanField(help_text="Images arrived after the signature.")
    report_image_rejected = serializers.BooleanField(
        help_text="The image that the signed report is about was rejected since."
    )
    intended_use = serializers.CharField()


class StudyPageSerializer(serializers.Serializer[Any]):
    intended_use = serializers.CharField()
    next = serializers.CharField(allow_null=True, help_text="URL of the next page; null on the last one.")
    results = StudySerializer(many=True)


class StudyQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of the list of studies."""

    status = serializers.MultipleChoiceField(choices=STUDY_STATUSES, required=False, help_text="May be repeated.")
    report_status = serializers.ChoiceField(
        choices=ReportStatus.choices, required=False, help_text="The status of the signed report, if there is one."
    )
    demographics_conflict = serializers.BooleanField(required=False)
    accession_number = serializers.CharField(max_length=64, required=False)
    patient_id = serializers.CharField(
        max_length=64, required=False, help_text="The complete PatientID; from any issuer unless `issuer` names one."
    )
    issuer = serializers.CharField(max_length=64, required=False, help_text="The complete IssuerOfPatientID.")
    patient_name = serializers.CharField(
        max_length=324,
        required=False,
        help_text="Compared as in DICOM (PS3.4 C.2.2.2) without regard to case, with every component group: `DOE^JANE` "
        "or, with a wildcard, `DOE*`.",
    )
    birth_date = serializers.DateField(required=False)
    modality = serializers.RegexField(
        r"\A[A-Z0-9_ ]{1,16}\Z", required=False, help_text="Studies with a series of this modality, such as DX."
    )
    study_date = StudyDateField(
        required=False,
        help_text="A date, or a range of dates with both ends: `2026-11-20`, `2026-11-01/2026-11-20`, `2026-11-01/`, "
        "`/2026-11-20`; also in the form of DICOM, `20261101-20261120`.",
    )
    study_date_from = serializers.DateField(required=False)
    study_date_to = serializers.DateField(required=False)
    study_instance_uid = serializers.RegexField(r"\A[0-9.]{1,64}\Z", required=False)
    model_version = serializers.RegexField(
        _VERSION_PATTERN, required=False, help_text="name:number. Studies that this version has read."
    )
    label = serializers.ChoiceField(  # type: ignore[assignment]
        choices=engine.LABELS,
        required=False,
        help_text="The finding that `positive` and `min_probability` apply to. Without them: studies where this "
        "finding is positive.",
    )
    positive = serializers.BooleanField(
        required=False,
        help_text="With `label`: whether that finding is positive. Without `label`: true for any positive finding, "
        "false for none.",
    )
    min_probability = serializers.FloatField(
        min_value=0,
        max_value=1,
        required=False,
        help_text="With `label`: the lowest probability of that finding. Without `label`: of any finding.",
    )
    ordering = serializers.ChoiceField(choices=ORDERINGS, default=ORDERINGS[0])
    page_size = serializers.IntegerField(min_value=1, max_value=LARGEST_PAGE, default=DEFAULT_PAGE_SIZE)
    cursor = serializers.CharField(
        required=False, max_length=400, help_text="The cursor from `next` of the previous page."
    )


class PredictQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of ``/predict``."""

    model_version = serializers.RegexField(
        _VERSION_PATTERN,
        required=False,
        help_text="name:number, one of /api/v1/models/; without it the version in service answers.",
    )
    heatmaps = serializers.BooleanField(
        default=False,
        help_text="Add a heatmap to each finding: the image regions that raised its logit. For a small number of "
        "images only.",
    )


class GateSerializer(serializers.Serializer[Any]):
    accepted = serializers.BooleanField(help_text="Whether the image passed the input check.")
    reason = serializers.CharField(allow_null=True, help_text="Stable name of the refusal, in kebab-case.")
    detail = serializers.CharField(allow_blank=True, help_text="The refusal as text.")


class PredictedFindingSerializer(serializers.Serializer[Any]):
    label = serializers.ChoiceField(choices=engine.LABELS)  # type: ignore[assignment]
    probability = serializers.FloatField(min_value=0, max_value=1, help_text="Calibrated.")
    threshold = serializers.FloatField(
        allow_null=True, help_text="The operating point; null where the model version has none for this label."
    )
    positive = serializers.BooleanField(help_text="Whether the probability reaches the operating point.")
    uncertain = serializers.BooleanField(help_text="As in the result of a study.")
    localisation = serializers.ChoiceField(choices=LOCALISATIONS, help_text="As in the result of a study.")
    heatmap = serializers.CharField(
        allow_null=True,
        required=False,
        help_text="With `heatmaps=true`: a data URI of a transparent PNG in the image's own proportions, to lay over "
        "it; null where the probability is too low for a map.",
    )


class PredictionSerializer(serializers.Serializer[Any]):
    file = serializers.CharField(allow_null=True, help_text="The file's name, where you gave one.")
    model_version = serializers.CharField(help_text="name:number")
    gate = GateSerializer()
    warnings = WarningSerializer(many=True, help_text="What a reader should know about the image.")
    abnormal = AbnormalSerializer(allow_null=True, help_text="Null where refused, and for versions without it.")
    findings = PredictedFindingSerializer(many=True, help_text="All labels, most probable first; empty where refused.")
    intended_use = serializers.CharField()


class ModelSummarySerializer(serializers.Serializer[Any]):
    model_version = serializers.CharField(help_text="name:number")
    name = serializers.CharField()
    number = serializers.IntegerField()
    architecture = serializers.CharField()
    sha256 = serializers.CharField(help_text="Identity of the artifact: manifest and weights.")
    registered = serializers.DateTimeField()
    in_service = serializers.BooleanField()
    url = serializers.CharField()


class ModelListSerializer(serializers.Serializer[Any]):
    intended_use = serializers.CharField()
    results = ModelSummarySerializer(many=True)


class InputSpaceSerializer(serializers.Serializer[Any]):
    """The network's input: grey 0..255 / 255, then (value - mean) / std for each channel."""

    size = serializers.IntegerField(help_text="Width and height of the square input tensor, in pixels.")
    fit = serializers.ChoiceField(
        choices=engine.FITS,
        help_text="stretch: both sides become `size`; crop: the short side becomes `size`, the long one is cropped.",
    )
    resize = serializers.ChoiceField(
        choices=engine.RESIZES,
        help_text="area averages when shrinking and is bilinear when enlarging, each axis by itself.",
    )
    channels = serializers.IntegerField()
    channel_order = serializers.CharField(help_text="The grey image in each channel; of a colour image, its luminance.")
    layout = serializers.CharField()
    dtype = serializers.CharField()
    mean = serializers.ListField(child=serializers.FloatField(), min_length=3, max_length=3)
    std = serializers.ListField(child=serializers.FloatField(), min_length=3, max_length=3)


class OperatingPointSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField(
        help_text="The finding is positive if its calibrated probability is at least this value."
    )
    strategy = serializers.CharField()
    positives = serializers.IntegerField(
        allow_null=True,
        help_text="The number of validation images with the finding that it was chosen on; null if this is unknown.",
    )


class CalibrationSerializer(serializers.Serializer[Any]):
    """probability = 1 / (1 + exp(-(a × logit + b))), fitted on validation images."""

    a = serializers.FloatField()
    b = serializers.FloatField()


class ModelSerializer(ModelSummarySerializer):
    labels = serializers.ListField(child=serializers.CharField())
    input_space = InputSpaceSerializer()
    grid = serializers.ListField(
        child=serializers.IntegerField(),
        min_length=2,
        max_length=2,
        help_text="Rows and columns of the class activation map.",
    )
    thresholds = serializers.DictField(
        child=OperatingPointSerializer(allow_null=True), help_text="By label; null where there is no operating point."
    )
    threshold_notes = serializers.DictField(child=serializers.CharField())
    calibration = serializers.DictField(
        child=CalibrationSerializer(), help_text="By label: converts the network's logit to a probability."
    )
    metrics = serializers.DictField(help_text="Measured figures by split, with confidence intervals.")
    data = serializers.DictField(  # type: ignore[assignment]
        help_text="What the version was trained and measured on."
    )
    card = serializers.CharField(help_text="The model card, Markdown.")
    intended_use = serializers.CharField()
