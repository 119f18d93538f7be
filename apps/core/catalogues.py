"""The catalogues of translated texts, compiled from the ``.po`` files of ``locale`` when a process starts.

Nothing compiled is committed, and no machine needs GNU gettext. The folder of the compiled files is named by what they
are compiled from, so that a process never reads the texts of another release.
"""

import hashlib
import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from django.conf import settings

LANGUAGES = (("en", "English"), ("de", "Deutsch"), ("es", "Español"))
"""Of the portal and the report. English is the language of the source; each other one has a folder in ``locale``."""

_SCRIPTS = "djangojs"


def compile_catalogues(source: Path, target: Path) -> Path:
    """Compile each catalogue that is not compiled yet.

    Args:
        source: the folder with ``LANGUAGE/LC_MESSAGES/*.po``.
        target: where this machine keeps compiled ones.

    Returns:
        The folder for Django's ``LOCALE_PATHS``. The texts of scripts lie in it as JSON.
    """
    files = sorted(source.glob("*/LC_MESSAGES/*.po"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    compiled = target / digest[:16]
    for file in files:
        suffix = ".json" if file.stem == _SCRIPTS else ".mo"
        wanted = compiled / file.relative_to(source).with_suffix(suffix)
        if not wanted.exists():
            _replace(wanted, _compile(file))
    return compiled


@lru_cache(maxsize=len(LANGUAGES))
def script_texts(language: str) -> dict[str, list[str]]:
    """The translations of the texts in ``static/js``: the singular, and where there is one the plural, of each."""
    for folder in settings.LOCALE_PATHS:
        file = Path(folder) / language / "LC_MESSAGES" / f"{_SCRIPTS}.json"
        if file.exists():
            texts: dict[str, list[str]] = json.loads(file.read_text())
            return texts
    return {}


def _compile(file: Path) -> bytes:
    # Imported here because only the first process after a change of the texts needs it.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with file.open("rb") as opened:
        catalogue = read_po(opened)
    if file.stem == _SCRIPTS:
        texts = {}
        for message in catalogue:
            forms = message.string if isinstance(message.string, tuple) else (message.string,)
            if message.id and all(forms):
                texts[message.id[0] if isinstance(message.id, tuple) else message.id] = list(forms)
        return json.dumps(texts, ensure_ascii=False).encode()
    with tempfile.TemporaryFile() as buffer:
        write_mo(buffer, catalogue)
        buffer.seek(0)
        return buffer.read()


def _replace(file: Path, content: bytes) -> None:
    """Write a file at once, because several processes start together."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as opened:
        opened.write(content)
    Path(name).replace(file)
