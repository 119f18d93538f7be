"""Studies with results, made by the services that the worker calls; the network alone is left out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from apps.audit.services import Actor
from ml.labels import LABELS
from ml.model.calibration import AbnormalScore, Platt
from ml.model.manifest import Manifest, Threshold
from ml.model.saliency import CamScale
from ml.model.transforms import InputSpace

GRID = (7, 7)


def manifest(name: str = "chest-net") -> Manifest:
    points: dict[str, Threshold | None] = {label: Threshold(0.5, "youden", 40) for label in LABELS}
    points["Hernia"] = None
    return Manifest(
        name=name,
        architecture="densenet121",
        input_space=InputSpace(size=224, fit="crop", resize="area"),
        grid=GRID,
        thresholds=points,
        threshold_notes={"Hernia": "Fewer than 10 positive films."},
        calibration=dict.fromkeys(LABELS, Platt()),
        cam_scale=dict.fromkeys(LABELS, CamScale(0.0, 1.0)),
        gate=None,
        metrics={
            "test": {
                "n": 200,
                "patients": 150,
                "mean_auroc": 0.71,
                "ci95": [0.66, 0.76],
                "labels": {label: {"auroc": 0.7, "ci95": [0.6, 0.8], "positives": 20} for label in LABELS},
            }
        },
        data={"source": "synthetic"},
        card="# chest-net\n\nDemonstration only.",
        weights_sha256="0" * 64,
        abnormal=AbnormalScore(1.0, -1.0, 0.5),
        margins=dict.fromkeys(LABELS, 0.4),
    )


@pytest.fixture
def version(db: None) -> Any:
    """A registered version in service; its weights are never asked for."""
    from apps.deployment.services import activate
    from apps.registry.models import ModelVersion

    described = manifest()
    version = ModelVersion.objects.create(
        name="chest-net", number=3, sha256=described.sha256, manifest=described.to_dict(), device_uid="2.25.1",
        localised=["Effusion"],
    )  # fmt: skip
    activate(version=version, by=Actor(name="test"))
    return version


@pytest.fixture
def read(version: Any) -> Callable[..., None]:
    """Complete a study's waiting job; the probabilities of labels that are not given are 0.1."""
    from apps.inference.services import JobResult, claim_jobs, complete_jobs
    from apps.reports.services import create_drafts
    from apps.tenants.scope import tenant_tx

    def completed(instance: Any, **probabilities: float) -> None:
        (job,) = claim_jobs(limit=1, version=version, worker="test")
        cams = np.zeros((len(LABELS), *GRID), np.float16)
        cams[:, 4, 2] = 2.0
        given = {label: probabilities.get(label, 0.1) for label in LABELS}
        with tenant_tx(job.tenant_id):
            result = JobResult(job=job, instance=instance, instances_seen=1, probabilities=given, cams=cams)
            create_drafts(jobs=complete_jobs(results=[result], version=version))

    return completed


@pytest.fixture
def uid_of() -> Callable[[Any], str]:
    """The StudyInstanceUID of a stored instance."""
    from apps.tenants.scope import tenant_tx

    def uid(instance: Any) -> str:
        with tenant_tx(instance.tenant_id):
            return instance.series.study.study_instance_uid

    return uid
