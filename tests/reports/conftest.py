"""A study that was read: real rows, a real image, and findings that the test chooses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from apps.inference.models import InferenceJob
from apps.inference.services import JobResult, claim_jobs, complete_jobs
from apps.registry.models import ModelVersion
from apps.reports.services import create_drafts
from apps.studies.models import Instance, Study
from apps.tenants.scope import tenant_tx
from ml.labels import LABELS
from ml.model.calibration import AbnormalScore, Platt
from ml.model.manifest import Manifest, Threshold
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace
from tests.conftest import Hospital

THRESHOLD = 0.3
UNJUDGED = "Hernia"
NOT_LOCALISED = "Nodule"


@pytest.fixture
def version(db: None) -> ModelVersion:
    """A version with real rows; its weights are never loaded."""
    threshold = Threshold(THRESHOLD, "youden", 50)
    manifest = Manifest(
        name="reporter",
        architecture="densenet121",
        input_space=InputSpace(224),
        grid=(7, 7),
        thresholds={label: None if label == UNJUDGED else threshold for label in LABELS},
        threshold_notes={UNJUDGED: "under 10 positives"},
        calibration=dict.fromkeys(LABELS, Platt()),
        cam_scale=dict.fromkeys(LABELS, CamScale(0.0, 4.0)),
        gate=None,
        metrics={"validation": {"mean_auroc": 0.8, "ci95": [0.75, 0.85]}},
        data={},
        card="For tests.",
        weights_sha256="0" * 64,
        abnormal=AbnormalScore(1.0, 0.0, 0.4),
        margins={"Nodule": 0.5},
    )
    return ModelVersion.objects.create(
        name="reporter", number=3, sha256=manifest.sha256, manifest=manifest.to_dict(), device_uid="2.25.1",
        localised=[label for label in LABELS if label != NOT_LOCALISED],
    )  # fmt: skip


def cams_of_lower_right() -> np.ndarray:
    """Maps whose strongest cell lies at the left and bottom of the picture: the patient's right base."""
    cams = np.full((len(LABELS), 7, 7), -1.0, dtype=np.float16)
    cams[:, 5:7, 1:3] = 3.0
    return cams


@pytest.fixture
def finish(version: ModelVersion) -> Callable[..., InferenceJob]:
    """End a hospital's waiting job with findings, as a worker does, and draft its report."""

    def finished(hospital: Hospital, **probabilities: float) -> InferenceJob:
        (claimed,) = claim_jobs(limit=1, version=version, worker="test")
        with tenant_tx(hospital.tenant.id):
            images = Instance.objects.filter(series__study_id=claimed.study_id, rows__isnull=False)
            instances = list(images.exclude(unreadable="own-object").order_by("received"))
            result = JobResult(
                job=claimed,
                instance=instances[-1],
                instances_seen=len(instances),
                probabilities={label: probabilities.get(label, 0.02) for label in LABELS},
                cams=cams_of_lower_right(),
            )
            (job,) = complete_jobs(results=[result], version=version)
            create_drafts(jobs=[job])
        return job

    return finished


@pytest.fixture
def read_study(store_film: Callable[..., Any], finish: Callable[..., InferenceJob]) -> Callable[..., Study]:
    """Store and read a film with these findings by label; ``film`` has its other arguments."""

    def read(hospital: Hospital, film: dict[str, Any] | None = None, **probabilities: float) -> Study:
        study = store_film(hospital, **(film or {})).study
        finish(hospital, **probabilities)
        return study

    return read
