"""`docs/conformance.md` says what the code's tables say, in the order of PS3.2's template."""

import re

from config.conformance import BLOCKS, PAGE, current


def test_the_page_is_current() -> None:
    text = PAGE.read_text()
    assert current(text) == text, "Run `make conformance`."
    assert set(re.findall(r"<!-- ([a-z-]+): begin -->", text)) == set(BLOCKS)


def test_the_sections_are_those_of_the_template() -> None:
    headings = re.findall(r"^## \d\. (.+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [
        "Conformance Statement Overview", "Table of Contents", "Introduction", "Networking", "Media Interchange",
        "Support of Character Sets", "Security", "Annexes",
    ]  # fmt: skip
