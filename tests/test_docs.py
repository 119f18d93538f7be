"""Documentation names what exists: files, commands, and the words that a user sees on a page."""

import html
import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.core.management import get_commands

from tests.conftest import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PAGES = sorted([*PROJECT_ROOT.glob("*.md"), *DOCS.rglob("*.md"), PROJECT_ROOT / "benchmarks" / "README.md"])
# The changelog says what was, and may name files that are gone.
PATHS_CHECKED = [page for page in PAGES if page.name != "CHANGELOG.md"]
GUIDES = sorted((DOCS / "guides").glob("*.md"))
FOLDERS = "apps|benchmarks|config|deploy|docs|ml|models|recipes|static|templates|tests|workers"


def name(page: Path) -> str:
    return str(page.relative_to(PROJECT_ROOT))


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PATHS_CHECKED, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    """In code spans; `*` stands for anything."""
    named = re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", page.read_text())
    assert [path for path in named if not list(PROJECT_ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_that_are_named_exist(page: Path) -> None:
    known = get_commands()
    text = page.read_text()
    assert [command for command in re.findall(r"manage\.py ([a-z_]+)", text) if command not in known] == []
    targets = re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [target for target in re.findall(r"`make ([a-z-]+)", text) if target not in targets] == []
    modules = re.findall(r"python -m ((?:benchmarks|config|ml|recipes)\.[a-z_.]+)", text)
    files = [PROJECT_ROOT.joinpath(*module.split(".")) for module in modules]
    assert [
        file for file in files if not file.with_suffix(".py").exists() and not (file / "__main__.py").exists()
    ] == []


@pytest.fixture(scope="module")
def shown() -> str:
    """All words of templates, of the Python of ``apps`` and of its models, with tags and breaks taken out."""
    parts = []
    for path in [*PROJECT_ROOT.glob("templates/**/*.html"), *PROJECT_ROOT.glob("apps/**/*.html")]:
        text = re.sub(r"\{%.*?%\}|<[^>]*>", " ", path.read_text(), flags=re.DOTALL)
        parts.append(re.sub(r"\{\{.*?\}\}", "…", text, flags=re.DOTALL) + re.sub(r"[<>=]", " ", path.read_text()))
    parts += [path.read_text() for path in PROJECT_ROOT.glob("apps/**/*.py")]
    parts += [path.read_text() for path in PROJECT_ROOT.glob("static/js/*.js")]
    parts += [str(model._meta.verbose_name_plural).capitalize() for model in admin.site._registry]
    return re.sub(r"\s+", " ", html.unescape(" ".join(parts)))


@pytest.mark.parametrize("guide", GUIDES, ids=name)
def test_guides_use_the_words_of_the_pages(guide: Path, shown: str) -> None:
    """What a guide sets in italics is a name of a page, a button or a message; `→` leads from one to the next."""
    italic = re.findall(r"(?<![*\w])\*([^*\n]+(?:\n[^*\n]+)?)\*(?![*\w])", guide.read_text())
    labels = [re.sub(r"\s+", " ", part).strip() for each in italic for part in each.split("→")]
    # A number in a label stands for any.
    assert [label for label in labels if re.sub(r"\d+", "…", label) not in shown and label not in shown] == []
    assert len(labels) >= 4


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    pages = [*DOCS.glob("*.md"), *(DOCS / "guides").glob("*.md")]
    assert [name(page) for page in pages if page.name != "README.md" and str(page.relative_to(DOCS)) not in index] == []


def test_decisions_have_one_form_and_stand_in_their_index() -> None:
    decisions = sorted((DOCS / "adr").glob("0*.md"))
    index = (DOCS / "adr" / "README.md").read_text()
    for number, page in enumerate(decisions, start=1):
        headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
        assert page.name.startswith(f"{number:04d}-")
        assert headings[0].startswith(f"{number}. ")
        assert headings[1:] == ["Context", "Decision", "Consequences", "When to revisit"], page.name
        assert f"]({page.name}) | {headings[0].split('. ', 1)[1]} |" in index, page.name
