"""The page for integrators says what the code does."""

from apps.results.objects.check import REQUIRED
from apps.results.objects.codes import FINDINGS
from ml.labels import LABELS
from tests.conftest import PROJECT_ROOT


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    page = (PROJECT_ROOT / "docs" / "results.md").read_text()
    assert tuple(FINDINGS) == LABELS
    for label, code in FINDINGS.items():
        assert f"| {label} | {code.value} | {code.scheme_designator} | {code.meaning} |\n" in page
    kinds = list(REQUIRED)
    keywords = dict.fromkeys(keyword for _, required in REQUIRED.values() for keyword in required)
    for keyword in keywords:
        types = " | ".join(str(REQUIRED[kind][1].get(keyword, "")) for kind in kinds)
        assert f"| {keyword} | {types} |\n" in page
    for kind in kinds:
        assert REQUIRED[kind][0] in page
