"""Collects the texts that are marked for translation into the catalogues of ``locale``: ``make messages``.

It needs Babel and Django only, no GNU gettext. ``django.po`` has the texts of Python and templates, ``djangojs.po``
those of ``static/js``. The operator's console and the interfaces of programs are English and not marked.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from apps.core.catalogues import LANGUAGES
from apps.inference.stored_texts import SENTENCES

PROJECT = Path(__file__).resolve().parents[1]
LOCALE = PROJECT / "locale"
DOMAINS = ("django", "djangojs")
TRANSLATED = tuple(code for code, _ in LANGUAGES if code != "en")
_KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}


def marked_texts(domain: str) -> "Catalog":  # type: ignore[name-defined] # noqa: F821
    """A catalogue without translations: every marked text, with the files that have it."""
    from babel.messages.catalog import Catalog

    catalogue = Catalog(charset="utf-8")
    for file in _sources(domain):
        name = file.relative_to(PROJECT).as_posix()
        for line, text, comments, context in _texts_of(file):
            if text:
                catalogue.add(text, locations=[(name, line)], auto_comments=comments, context=context)
    if domain == "django":
        for text in SENTENCES.values():
            catalogue.add(text, locations=[("apps/inference/stored_texts.py", 1)])
    return catalogue


def catalogue_path(language: str, domain: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / f"{domain}.po"


def update(language: str, domain: str) -> int:
    """Write a language's catalogue anew: translations stay, new texts have none, texts that are gone are removed.

    Returns:
        How many texts lack their translation.
    """
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po, write_po

    path = catalogue_path(language, domain)
    former = Catalog(locale=language)
    if path.exists():
        with path.open("rb") as opened:
            former = read_po(opened, locale=language)
    catalogue = Catalog(locale=language, charset="utf-8", fuzzy=False)
    for message in marked_texts(domain):
        if not message.id:
            continue
        found = former.get(message.id if isinstance(message.id, str) else message.id[0], message.context)
        same = found is not None and isinstance(found.id, tuple) == isinstance(message.id, tuple)
        catalogue.add(
            message.id,
            found.string if found is not None and same else None,
            locations=message.locations,
            auto_comments=message.auto_comments,
            context=message.context,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=120, omit_header=True, include_lineno=False, sort_by_file=True)
    path.write_bytes(_HEADER.format(language=language).encode() + buffer.getvalue())
    return len([message for message in catalogue if message.id and not _is_translated(message.string)])


# Both languages have one plural form, like English. Without dates, an update that changes nothing writes the same file.
_HEADER = """\
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

"""


def _is_translated(string: str | tuple[str, ...] | list[str] | None) -> bool:
    return bool(string) and (isinstance(string, str) or all(string or ()))


def _sources(domain: str) -> Iterator[Path]:
    if domain == "djangojs":
        yield from sorted((PROJECT / "static" / "js").glob("*.js"))
        return
    for folder, pattern in (("apps", "*.py"), ("config", "*.py"), ("ml", "*.py"), ("templates", "*.html")):
        yield from sorted(each for each in (PROJECT / folder).rglob(pattern) if "migrations" not in each.parts)


def _texts_of(file: Path) -> Iterator[tuple[int, str | tuple[str, ...], list[str], str | None]]:
    from babel.messages.extract import extract
    from django.utils.translation.template import templatize

    source, method = file.read_text(), "javascript" if file.suffix == ".js" else "python"
    if file.suffix == ".html":
        # What `templatize` returns is for a lenient reader: the indentation of HTML is none of Python.
        source = "\n".join(line.strip() for line in templatize(source, origin=str(file)).splitlines())
    yield from extract(method, io.BytesIO(source.encode()), keywords=_KEYWORDS, comment_tags=["Translators:"])


def main() -> None:
    missing = 0
    for language in TRANSLATED:
        for domain in DOMAINS:
            lacking = update(language, domain)
            missing += lacking
            print(f"{catalogue_path(language, domain).relative_to(PROJECT)}: {lacking} texts lack their translation")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
