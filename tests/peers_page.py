"""Writes the matrix of ``docs/peers.md`` from a test run: ``python -m tests.peers_page RESULTS.xml…``.

The results are pytest's in JUnit's format, in one file or more. A test says by its marker which peers it runs, and
which function: ``@pytest.mark.peer("DCMTK", "C-FIND from us")``.
"""

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).resolve().parent.parent / "docs" / "peers.md"
PROPERTY = "peer"


def outcomes(*results: Path) -> dict[tuple[str, str], Counter[str]]:
    """The numbers of passed, failed and skipped tests, by function and peer."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    cases = [case for each in results for case in ElementTree.parse(each).iter("testcase")]  # noqa: S314
    for case in cases:
        said = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            said = "failed"
        elif case.find("skipped") is not None:
            said = "skipped"
        for each in case.iter("property"):
            if each.get("name") == PROPERTY:
                peers, _, function = each.attrib["value"].partition("|")
                for peer in peers.split(", "):
                    found[function, peer][said] += 1
    return found


def matrix(found: dict[tuple[str, str], Counter[str]]) -> str:
    peers = sorted({peer for _, peer in found}, key=str.lower)
    lines = ["| function | " + " | ".join(peers) + " |", "| --- |" + " --- |" * len(peers)]
    for function in sorted({function for function, _ in found}, key=str.lower):
        lines.append(f"| {function} | " + " | ".join(_cell(found.get((function, peer))) for peer in peers) + " |")
    return "\n".join(lines)


def _cell(numbers: Counter[str] | None) -> str:
    if not numbers:
        return ""
    return ", ".join(f"{numbers[name]} {name}" for name in ("passed", "failed", "skipped") if numbers[name])


def write(table: str, page: Path = PAGE) -> None:
    text = page.read_text()
    page.write_text(
        re.sub(r"(<!-- matrix: begin -->\n).*(\n<!-- matrix: end -->)", rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
    )


if __name__ == "__main__":
    write(matrix(outcomes(*map(Path, sys.argv[1:]))))
