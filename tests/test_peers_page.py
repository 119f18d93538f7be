"""The matrix of peers counts what JUnit's file says, by function and peer."""

from pathlib import Path

from tests.peers_page import matrix, outcomes, write

RESULTS = """<testsuites><testsuite>
<testcase name="a"><properties><property name="peer" value="DCMTK|C-ECHO to us"/></properties></testcase>
<testcase name="b"><properties><property name="peer" value="DCMTK, Orthanc|C-ECHO to us"/></properties>
<failure message="no"/></testcase>
<testcase name="c"><properties><property name="peer" value="Orthanc|STOW-RS to us"/></properties>
<skipped message="absent"/></testcase>
<testcase name="d"/>
</testsuite></testsuites>"""


def test_the_matrix(tmp_path: Path) -> None:
    results, page = tmp_path / "results.xml", tmp_path / "peers.md"
    results.write_text(RESULTS)
    page.write_text("before\n<!-- matrix: begin -->\nold\n<!-- matrix: end -->\nafter\n")
    write(matrix(outcomes(results)), page)
    assert page.read_text() == (
        "before\n<!-- matrix: begin -->\n"
        "| function | DCMTK | Orthanc |\n"
        "| --- | --- | --- |\n"
        "| C-ECHO to us | 1 passed, 1 failed | 1 failed |\n"
        "| STOW-RS to us |  | 1 skipped |\n"
        "<!-- matrix: end -->\nafter\n"
    )
