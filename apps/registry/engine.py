"""The one door from Django to ``ml``. Nothing here imports torch."""

from ml.artifact import ArtifactInvalid, Manifest, load_artifact, read_manifest
from ml.errors import RETRYABLE, InputRejected, failure_reason
from ml.gate import GateResult, tag_gate
from ml.importers import FORMATS as IMPORT_FORMATS
from ml.importers import Imported, ImportRefused, import_file
from ml.importers import Options as ImportOptions
from ml.labels import LABELS
from ml.phantom import DemoFilm, demo_set
from ml.predictor import Prediction, Predictor, PredictorUnavailable, load_predictor
from ml.preflight import Preflight, inspect
from ml.saliency import CamScale, heatmap_rgba, opacity, zone
from ml.sandbox import Sandbox
from ml.secondary_capture import PictureIdentity, write_secondary_capture
from ml.serving_input import LoadedInput, load_input, render_png
from ml.transforms import FITS, RESIZES, Geometry, InputSpace

__all__ = [
    "FITS",
    "IMPORT_FORMATS",
    "LABELS",
    "RESIZES",
    "RETRYABLE",
    "ArtifactInvalid",
    "CamScale",
    "DemoFilm",
    "GateResult",
    "Geometry",
    "ImportOptions",
    "ImportRefused",
    "Imported",
    "InputRejected",
    "InputSpace",
    "LoadedInput",
    "Manifest",
    "PictureIdentity",
    "Prediction",
    "Predictor",
    "PredictorUnavailable",
    "Preflight",
    "Sandbox",
    "demo_set",
    "failure_reason",
    "heatmap_rgba",
    "import_file",
    "inspect",
    "load_artifact",
    "load_input",
    "load_predictor",
    "opacity",
    "read_manifest",
    "render_png",
    "tag_gate",
    "write_secondary_capture",
    "zone",
]
