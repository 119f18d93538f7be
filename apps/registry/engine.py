"""The only module of the Django code that imports ``ml``; nothing that it imports needs torch at import time."""

from ml.alarms import AlarmBudget, alarms
from ml.bootstrap import Interval, wilson
from ml.data import DatasetInvalid, describe
from ml.data.check import FolderCheck, check_folder
from ml.data.provenance import SEEN_PATIENTS
from ml.dicom.dicom_json import write_bulkdata, write_metadata
from ml.dicom.explicit_le import write_explicit_le, write_implicit_le
from ml.dicom.frames import FrameTable, locate_frames
from ml.dicom.image_warnings import CODES as IMAGE_WARNINGS
from ml.dicom.image_warnings import ImageWarning
from ml.dicom.key_objects import RejectionNote
from ml.dicom.orientation import read_orientation
from ml.dicom.preflight import Preflight, inspect
from ml.dicom.rendered import render_frame
from ml.dicom.same_instance import same_instance
from ml.dicom.secondary_capture import PictureIdentity, write_secondary_capture
from ml.dicom.storage_classes import SOP_CLASSES
from ml.dicom.transfer_syntaxes import EXPLICIT_LE, JPEG, JPEG_2000, JPEG_LS, NATIVE, RLE
from ml.errors import CODES as INPUT_ERRORS
from ml.errors import RETRYABLE, InputRejected, failure_reason
from ml.evaluation import REFUSED as EVALUATION_REFUSED
from ml.evaluation import (
    NotComparable,
    Table,
    compare_versions,
    end_with_stdin,
    evaluate_version,
    paired_difference,
    read_image_list,
    report_tables,
    report_text,
    start_evaluation,
    table2,
)
from ml.evaluation.drift import (
    FALSE_ALARMS_PER_YEAR,
    Figure,
    Readings,
    alarms_of,
    figures_of,
    held_out_readings,
)
from ml.importers import FORMATS as IMPORT_FORMATS
from ml.importers import Imported, ImportRefused, import_file
from ml.importers import Options as ImportOptions
from ml.labels import LABELS
from ml.model.age import VALIDATED_AGES, age_warning
from ml.model.artifact import load_artifact
from ml.model.calibration import AbnormalScore, Platt, calibrate
from ml.model.held_out import HeldOutRecord, read_held_out
from ml.model.input_check import CODES as INPUT_CHECKS
from ml.model.input_check import InputCheckResult, check_attributes
from ml.model.manifest import ArtifactInvalid, Manifest
from ml.model.predictor import Predictor, PredictorUnavailable, load_predictor, remove_exported
from ml.model.recalibration import fit_local, prior_shift, remap, unmap
from ml.model.regions import Region, strongest_region
from ml.model.saliency import OUTSIDE, CamScale, displayed_contribution, heatmap_rgba, opacity, zone
from ml.model.serving_input import DISPLAY_VERSION, LoadedInput, load_input, render_grey
from ml.model.thorax import share_inside
from ml.model.transforms import FITS, RESIZES, Geometry, InputSpace
from ml.model.uncertainty import uncertain
from ml.model.variants import VARIANTS
from ml.phantom import demo_set
from ml.sandbox.confinement import missing_protections
from ml.sandbox.pool import Sandbox, Writable
from ml.training.config import TrainingConfig
from ml.training.launch import Nodes, TrainingFailed, launch
from ml.training.options import add_arguments as add_training_arguments
from ml.training.options import check_architectures
from ml.training.options import from_arguments as training_of_arguments
from ml.training.progress import FILE as PROGRESS_FILE
from ml.training.progress import follow as follow_progress
from ml.training.rendezvous import is_local_endpoint

__all__ = [
    "DISPLAY_VERSION",
    "EVALUATION_REFUSED",
    "EXPLICIT_LE",
    "FALSE_ALARMS_PER_YEAR",
    "FITS",
    "IMAGE_WARNINGS",
    "IMPORT_FORMATS",
    "INPUT_CHECKS",
    "INPUT_ERRORS",
    "JPEG",
    "JPEG_2000",
    "JPEG_LS",
    "LABELS",
    "NATIVE",
    "OUTSIDE",
    "PROGRESS_FILE",
    "RESIZES",
    "RETRYABLE",
    "RLE",
    "SEEN_PATIENTS",
    "SOP_CLASSES",
    "VALIDATED_AGES",
    "VARIANTS",
    "AbnormalScore",
    "AlarmBudget",
    "ArtifactInvalid",
    "CamScale",
    "DatasetInvalid",
    "Figure",
    "FolderCheck",
    "FrameTable",
    "Geometry",
    "HeldOutRecord",
    "ImageWarning",
    "ImportOptions",
    "ImportRefused",
    "Imported",
    "InputCheckResult",
    "InputRejected",
    "InputSpace",
    "Interval",
    "LoadedInput",
    "Manifest",
    "Nodes",
    "NotComparable",
    "PictureIdentity",
    "Platt",
    "Predictor",
    "PredictorUnavailable",
    "Preflight",
    "Readings",
    "Region",
    "RejectionNote",
    "Sandbox",
    "Table",
    "TrainingConfig",
    "TrainingFailed",
    "Writable",
    "add_training_arguments",
    "age_warning",
    "alarms",
    "alarms_of",
    "calibrate",
    "check_architectures",
    "check_attributes",
    "check_folder",
    "compare_versions",
    "demo_set",
    "describe",
    "displayed_contribution",
    "end_with_stdin",
    "evaluate_version",
    "failure_reason",
    "figures_of",
    "fit_local",
    "follow_progress",
    "heatmap_rgba",
    "held_out_readings",
    "import_file",
    "inspect",
    "is_rendezvous_host",
    "launch",
    "load_artifact",
    "load_input",
    "load_predictor",
    "locate_frames",
    "missing_protections",
    "opacity",
    "paired_difference",
    "prior_shift",
    "read_held_out",
    "read_image_list",
    "read_orientation",
    "remap",
    "remove_exported",
    "render_frame",
    "render_grey",
    "report_tables",
    "report_text",
    "same_instance",
    "share_inside",
    "start_evaluation",
    "strongest_region",
    "table2",
    "training_of_arguments",
    "uncertain",
    "unmap",
    "wilson",
    "write_bulkdata",
    "write_explicit_le",
    "write_implicit_le",
    "write_metadata",
    "write_secondary_capture",
    "zone",
]


def is_rendezvous_host(nodes: Nodes) -> bool:
    """Whether this machine is the rendezvous host, on which the chief runs."""
    return nodes.rdzv_endpoint is None or is_local_endpoint(nodes.rdzv_endpoint)
