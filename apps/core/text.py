"""Text that people type: one normal form, without characters that no page or PDF can show."""

import unicodedata

from apps.core.errors import InvalidInputError


def clean_text(text: str, *, name: str, longest: int) -> str:
    """The text in Unicode's form NFC, with LF as line end, without control characters and spaces around it.

    Args:
        text: what the user entered.
        name: what the user calls it, such as "reason"; it is part of the error's code.
        longest: characters that are allowed.

    Raises:
        InvalidInputError: the text is too long (`{name}-too-long`).
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "".join(each for each in text if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cs")).strip()
    if len(text) > longest:
        raise InvalidInputError(f"The {name} has {len(text)} characters; shorten it to {longest}.", f"{name}-too-long")
    return text
