"""The stored PDF of a signed report: a damaged one is never served, and one that cannot be stored is not signed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from apps.core.errors import UnavailableError
from apps.core.work_queue import JobState
from apps.reports.selectors import draft_of, report_of
from apps.reports.services import render_pdf
from apps.studies.models import Study, object_key
from apps.studies.object_store import FileStore
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.reports.test_services import sign_as_radiologist


def test_a_damaged_or_missing_object_is_never_served(north: Hospital, read_study: Callable[..., Study]) -> None:
    study = read_study(north)
    with tenant_tx(north.tenant.id):
        report = sign_as_radiologist(north, study)
        key = object_key(north.tenant.id, report.pdf_sha256)
        path = Path(default_storage.path(key))
        default_storage.delete(key)
        with pytest.raises(UnavailableError, match="cannot be read"):
            render_pdf(study=study)
        path.write_bytes(b"%PDF-1.7 something else")
        with pytest.raises(UnavailableError, match="not the one that was signed"):
            render_pdf(study=study)


def test_a_signature_that_cannot_be_stored_changes_nothing(
    north: Hospital, read_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(north)

    def refuse(_: object, key: str, source: Path) -> None:
        raise ConnectionError(key)

    monkeypatch.setattr(FileStore, "put", refuse)
    with tenant_tx(north.tenant.id):
        with pytest.raises(UnavailableError):
            sign_as_radiologist(north, study)
        report = draft_of(study)
        assert report_of(study) is None
    assert report is not None
    assert report.job.state == JobState.COMPLETE
