"""Text that people type: one normal form, without characters that no page or PDF can show."""

import re
import unicodedata

from django.utils.translation import gettext as _

from apps.core.errors import InvalidInputError

# Nine digits are more than any number that a page asks for; int() refuses texts of thousands of them.
_WHOLE_NUMBER = re.compile("[0-9]{1,9}")


def whole_number(text: str, default: int) -> int:
    """The whole number from 0 on that a form or an address has; ``default`` where it has none."""
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else default


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
        raise InvalidInputError(
            _("This text has %(count)d characters; shorten it to %(longest)d.")
            % {"count": len(text), "longest": longest},
            f"{name}-too-long",
        )
    return text
