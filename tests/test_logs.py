"""Log lines name views and kinds of error, never a patient's study or a row's values."""

import logging

from django.test import RequestFactory

from apps.core.logs import LineFormatter, WithoutPaths


def test_a_request_is_logged_without_its_path() -> None:
    request = RequestFactory().get("/studies/1.2.826.0.1.3680043/")
    record = logging.LogRecord("django.request", logging.ERROR, "", 0, "Error: %s", (request.path,), None)
    record.request, record.status_code = request, 500  # type: ignore[attr-defined]
    assert WithoutPaths().filter(record)
    assert "1.2.826" not in record.getMessage()
    assert "500 GET" in record.getMessage()


def test_the_values_of_a_database_error_are_withheld() -> None:
    patient = "-".join(["P", "4711"])
    try:
        raise ValueError(f"duplicate key\nDETAIL:  Key (patient_id)=({patient}) already exists.")
    except ValueError as error:
        text = LineFormatter().formatException((type(error), error, error.__traceback__))
    assert "P-4711" not in text
    assert "duplicate key" in text
