"""Passwords: what Django's list of common ones does not catch once twelve characters are asked for."""

import re
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError

_EDGES = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_REPEATED = re.compile(r"(.+?)\1+")


class CommonPasswordVariantValidator:
    """Refuses a common password that was only made longer: ``Password2026!``, ``qwertyqwerty``, ``111111111111``.

    What is left without digits and signs at its ends, and what is repeated, is looked up in Django's list.
    """

    def __init__(self) -> None:
        self._common = CommonPasswordValidator().passwords

    def validate(self, password: str, user: Any = None) -> None:
        text = password.lower().strip()
        if any(self._is_common(each) for each in (text, _EDGES.sub("", text))):
            raise ValidationError(
                "This is a common password with something added. Use several words that do not belong together.",
                code="password_too_common",
            )

    def _is_common(self, text: str) -> bool:
        repeated = _REPEATED.fullmatch(text)
        # A single character, or one that is repeated, needs no list.
        return text in self._common or (repeated is not None and (len(repeated[1]) == 1 or repeated[1] in self._common))

    def get_help_text(self) -> str:
        return "Your password can't be a common password that was only made longer."
