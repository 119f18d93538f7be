"""A small FHIR client that validates whatever it gets."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.conftest import Hospital
from tests.fhir.validation import validate
from tests.results import read, uid_of, version

__all__ = ["read", "uid_of", "version"]


@pytest.fixture
def ask() -> Callable[..., Any]:
    """Send a GET request to ``/fhir/`` as a hospital's key, validate the answer, and return it."""

    def asked(hospital: Hospital, path: str, /, *, expected: int = 200, headers: Any = None, **query: Any) -> Any:
        answer = Client().get(f"/fhir/{path}", query, headers=hospital.bearer | (headers or {}))
        assert answer.status_code == expected, answer.content
        assert answer["Content-Type"] == "application/fhir+json"
        return validate(answer.json())

    return asked


@pytest.fixture
def sign(db: None) -> Callable[..., None]:
    """Sign the report of a study as the hospital's radiologist, agreeing with all findings without a verdict."""
    from apps.reports.services import sign_report
    from apps.tenants.models import Membership
    from apps.tenants.scope import tenant_tx

    def signed(hospital: Hospital, study: Any, impression: str, **more: Any) -> None:
        with tenant_tx(hospital.tenant.id):
            member = Membership.objects.get(user=hospital.radiologist)
            sign_report(
                study=study,
                user=hospital.radiologist,
                membership=member,
                impression=impression,
                agree_rest=True,
                **more,
            )

    return signed
