"""The columns that the SQL functions fill, compared with the models: a migration may not leave the functions behind."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import NOT_PROVIDED

from apps.core.identifiers import uuid7
from apps.inference.models import Finding, HeatmapGrids, InferenceJob
from apps.ingest.intake import inspect_file
from apps.studies import services
from apps.studies.models import Instance, Patient, Series, Study
from apps.studies.spool import open_spool

FILLS: dict[str, list[type[models.Model]]] = {
    "studies_store_instance": [Patient, Study, Series, Instance],
    "inference_queue_reading": [InferenceJob],
    "inference_complete_jobs": [Finding, HeatmapGrids],
}
_INSERT = re.compile(r"insert\s+into\s+(\w+)\s*(?:\(([^)]*)\))?")
_UPDATE = re.compile(r"update\s+inference_inferencejob\s+\w+\s+set\s(.*?)\s(?:from|where)\s", re.DOTALL)


def source_of(function: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("select prosrc from pg_proc where proname = %s", [function])
        ((source,),) = cursor.fetchall()
    return str(source)


def inserted(function: str) -> dict[str, set[str]]:
    """The columns of the function's insert statements, by table."""
    found = _INSERT.findall(source_of(function))
    return {table: {column.strip() for column in columns.split(",")} for table, columns in found}


def left_behind(fields: Iterable[Any], filled: set[str]) -> list[str]:
    """The columns that neither the function nor the database gives a value."""
    return [
        field.column
        for field in fields
        if field.column not in filled and not field.null and field.db_default is NOT_PROVIDED
    ]


@pytest.mark.parametrize("function", FILLS)
def test_every_column_that_a_function_does_not_fill_has_a_database_default(servers: None, function: str) -> None:
    """The former release calls the function while a new column is there already."""
    filled = inserted(function)
    assert filled.keys() == {model._meta.db_table for model in FILLS[function]}
    for model in FILLS[function]:
        fields = model._meta.concrete_fields
        columns = filled[model._meta.db_table]
        assert columns <= {field.column for field in fields}
        assert left_behind(fields, columns) == [], f"{model.__name__}: give the columns a db_default"


def test_the_columns_that_end_a_job_are_those_of_the_model(servers: None) -> None:
    (assigned,) = _UPDATE.findall(source_of("inference_complete_jobs"))
    columns = set(re.findall(r"(\w+)\s*=", assigned))
    assert {"state", "finished", "warnings"} <= columns
    assert columns <= {field.column for field in InferenceJob._meta.concrete_fields}


def test_storing_hands_over_exactly_the_columns_that_its_function_fills(
    servers: None, make_film: Callable[..., Path]
) -> None:
    """A value for a column that the function does not name would be lost without an error."""
    filled = inserted("studies_store_instance")
    with open_spool() as spool:
        inspected = inspect_file(spool.write(make_film(size=128).read_bytes()))
        rows = services._rows(uuid7(), inspected.spooled, inspected.found)
    for model, row in zip(FILLS["studies_store_instance"], rows, strict=True):
        tenant_and_parents = {field.column for field in model._meta.concrete_fields if field.is_relation}
        assert row.keys() == filled[model._meta.db_table] - tenant_and_parents


def test_a_column_that_is_left_behind_would_be_noticed() -> None:
    fields = [models.TextField(), models.TextField(null=True), models.TextField(db_default=""), models.TextField()]
    for name, field in zip(("plain", "empty", "filled", "known"), fields, strict=True):
        field.set_attributes_from_name(name)
    assert left_behind(fields, {"known"}) == ["plain"]
