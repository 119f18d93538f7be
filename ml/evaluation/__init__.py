"""Evaluation of model versions: figures with intervals, subgroups, localisation, published tables."""

from ml.evaluation.child import REFUSED, end_with_stdin, start_evaluation
from ml.evaluation.compare import compare_versions
from ml.evaluation.image_list import EvaluationRefused, ImageList, read_image_list
from ml.evaluation.pairing import NotComparable, paired_difference
from ml.evaluation.summary import report_tables, report_text
from ml.evaluation.tables import Table, table2, table3
from ml.evaluation.version import evaluate_version

__all__ = [
    "REFUSED",
    "EvaluationRefused",
    "ImageList",
    "NotComparable",
    "Table",
    "compare_versions",
    "end_with_stdin",
    "evaluate_version",
    "paired_difference",
    "read_image_list",
    "report_tables",
    "report_text",
    "start_evaluation",
    "table2",
    "table3",
]
