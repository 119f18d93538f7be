from typing import Any

import pytest
from django.test import Client, RequestFactory

from apps.api import error_views


@pytest.mark.parametrize("path", ["/api/", "/api/v1/nothing/", "/api/v1/studies/..%2f/", "/api/v1/studies/1%00/"])
def test_an_unknown_address_of_the_api_is_a_problem(north: Any, path: str) -> None:
    answer = Client().get(path, headers=north.bearer)

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


def test_a_failure_is_a_problem_without_its_cause(
    north: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from apps.api import study_views

    def fail(_: str) -> None:
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(study_views, "get_study", fail)
    with caplog.at_level("CRITICAL"):
        answer = Client(raise_request_exception=False).get("/api/v1/studies/1.2.3/", headers=north.bearer)

    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert b"JANE" not in answer.content


def test_people_get_pages_and_machines_problems(rf: RequestFactory) -> None:
    handlers = {
        400: lambda request: error_views.bad_request(request, Exception()),
        403: lambda request: error_views.permission_denied(request, Exception()),
        404: lambda request: error_views.not_found(request, Exception()),
        500: error_views.server_error,
    }
    for status, handler in handlers.items():
        for_machine, for_person = handler(rf.get("/api/v1/x")), handler(rf.get("/x"))
        assert for_machine.status_code == for_person.status_code == status
        assert for_machine["Content-Type"] == "application/problem+json"
        assert for_person["Content-Type"].startswith("text/html")
