"""Loaded before Django's settings (``-p tests.plugin``): gives each test process a home and servers of its own."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

for replaced in ("DATABASE_URL", "REDIS_URL", "S3_BUCKET", "S3_ENDPOINT_URL", "SECRET_KEY", "ALLOWED_HOSTS"):
    os.environ.pop(replaced, None)
HOME = Path(tempfile.mkdtemp(prefix="chx-"))
os.environ["CHECXRAY_HOME"] = str(HOME)
os.environ["CHECXRAY_UNSAFE_FAST_DATABASE"] = "1"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings.test"

from tests import prepared  # noqa: E402

prepared.take_secrets(HOME)

# Files whose tests take longest, longest first: a worker that begins with them does not leave the others waiting at
# the end. CONTRIBUTING.md has the table of slow tests.
SLOW_FIRST = (
    "ml/training/test_launch.py",
    "training/test_train_model.py",
    "ml/training/test_hosts.py",
    "workers/test_pipeline.py",
    "flows/test_durability.py",
    "flows/test_demo.py",
    "tenants/test_postgresql_15.py",
    "api/test_predict_live.py",
    "studies/test_s3.py",
    "ml/training/test_learning.py",
    "faults/test_workers.py",
    "workers/test_previewing.py",
    "faults/test_http.py",
    "ml/model/test_predictor.py",
    "ml/evaluation/test_version.py",
    "ml/importers/test_parity.py",
    "browser/test_portal.py",
)

# Folders and files that `make unit` leaves out: their tests start processes beside PostgreSQL and Valkey, train or
# export networks, or take more than ten seconds together.
SLOW = (
    "api/test_health.py",
    "api/test_predict.py",
    "api/test_predict_live.py",
    "browser",
    "config/test_embedded.py",
    "critical",
    "deploy",
    "dicomweb",
    "dimse",
    "evaluation",
    "faults",
    "fhir/test_docs.py",
    "flows",
    "inference",
    "ml/data/test_shards.py",
    "ml/evaluation/test_drift.py",
    "ml/evaluation/test_golden.py",
    "ml/evaluation/test_recalibration.py",
    "ml/evaluation/test_version.py",
    "ml/importers",
    "ml/model/test_artifact.py",
    "ml/model/test_ensemble.py",
    "ml/model/test_input_check.py",
    "ml/model/test_networks.py",
    "ml/model/test_predictor.py",
    "ml/model/test_timm_features.py",
    "ml/model/test_torch_predictor.py",
    "ml/networks",
    "ml/sandbox",
    "ml/test_phantom.py",
    "ml/test_phantom_dicom.py",
    "ml/training",
    "portal/test_worklist.py",
    "recipes",
    "registry/test_import_model.py",
    "reports/test_amendments.py",
    "reports/test_pdf.py",
    "reports/test_services.py",
    "roles",
    "studies/test_s3.py",
    "tenants/test_postgresql_15.py",
    "tenants/test_roles.py",
    "test_architecture.py",
    "training",
    "trials/test_previews.py",
    "upgrade",
    "workers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    order = {tests / name: number for number, name in enumerate(SLOW_FIRST)}
    slow = [tests / name for name in SLOW]
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker("slow")
        # For `tests/peers_page.py`, which reads the results.
        item.user_properties += [("peer", "|".join(mark.args)) for mark in item.iter_markers("peer") if mark.args]
    items.sort(key=lambda item: order.get(item.path, len(order)))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
