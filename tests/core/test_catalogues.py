"""Every text that is marked for translation has one in each language, with the same placeholders."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po
from django.utils import translation

from apps.core.catalogues import compile_catalogues, script_texts
from apps.core.finding_names import FINDINGS, finding_name
from apps.registry import engine
from config.messages import DOMAINS, TRANSLATED, catalogue_path, marked_texts
from tests.conftest import PROJECT_ROOT

_PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]|%[sd]|\{\w*\}|</?[a-z]+")


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_marked_text_is_translated_with_its_placeholders(domain: str) -> None:
    marked = [message for message in marked_texts(domain) if message.id]
    assert marked
    defects = [defect for language in TRANSLATED for defect in _defects(language, domain, marked)]
    assert not defects, "Run `make messages` and translate:\n" + "\n".join(defects[:40])


def test_the_command_starts_as_make_messages_starts_it() -> None:
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings.embedded"}
    subprocess.run([sys.executable, "-c", "import config.messages"], env=environment, cwd=PROJECT_ROOT, check=True)


def _defects(language: str, domain: str, marked: list[Any]) -> Iterator[str]:
    with catalogue_path(language, domain).open("rb") as opened:
        catalogue = read_po(opened, locale=language)
    for message in marked:
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        found = catalogue.get(texts[0], message.context)
        strings = () if found is None else found.string if isinstance(found.string, tuple) else (found.string,)
        if len(strings) != len(texts) or not all(strings) or "fuzzy" in found.flags:
            yield f"{language}: no translation of {texts[0]!r} ({message.locations[0][0]})"
            continue
        wanted = sorted({each.group() for each in _PLACEHOLDER.finditer(texts[-1])})
        if sorted({each.group() for each in _PLACEHOLDER.finditer(strings[-1])}) != wanted:
            yield f"{language}: other placeholders or tags than in {texts[-1]!r}: {strings[-1]!r}"


def test_catalogues_are_compiled_by_content_and_read_by_django(tmp_path: Path) -> None:
    source = tmp_path / "source"
    file = source / "de" / "LC_MESSAGES" / "django.po"
    file.parent.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    file.write_text(header + 'msgid "Sign in"\nmsgstr "Anmelden"\n')
    first = compile_catalogues(source, tmp_path / "compiled")
    assert (first / "de" / "LC_MESSAGES" / "django.mo").exists()
    assert compile_catalogues(source, tmp_path / "compiled") == first
    file.write_text(header + 'msgid "Sign in"\nmsgstr "Einloggen"\n')
    assert compile_catalogues(source, tmp_path / "compiled") != first
    with translation.override("de"):
        assert translation.gettext("Worklist") == "Arbeitsliste"


def test_scripts_get_their_texts() -> None:
    assert script_texts("de")["Read by AI"] == ["Von der KI gelesen"]
    assert script_texts("en") == {}


def test_each_finding_has_a_name_in_each_language() -> None:
    assert set(FINDINGS) == set(engine.LABELS)
    assert finding_name("Pleural_Thickening", "de") == "Pleuraverdickung"
    assert finding_name("Effusion", "es-mx") == "Derrame pleural"
    assert finding_name("Lung_Lesion", "de") == "Lung lesion"
    with translation.override("es"):
        assert finding_name("Pneumothorax") == "Neumotórax"
