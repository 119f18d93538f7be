"""Evaluation of model versions: figures with intervals, subgroups, localisation, published tables."""

from ml.evaluation.compare import compare_versions
from ml.evaluation.films import EvaluationRefused
from ml.evaluation.summary import report_tables, report_text
from ml.evaluation.tables import Table, table2, table3
from ml.evaluation.version import evaluate_version

__all__ = [
    "EvaluationRefused",
    "Table",
    "compare_versions",
    "evaluate_version",
    "report_tables",
    "report_text",
    "table2",
    "table3",
]
