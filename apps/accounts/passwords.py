"""A password validator for variants of common passwords, which Django's list of common passwords does not contain."""

import re
from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

_DIGITS_AND_PUNCTUATION_AT_ENDS = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_REPEATED = re.compile(r"(.+?)\1+")


class CommonPasswordVariantValidator:
    """Refuses a common password that was only made longer: ``Password2026!``, ``qwertyqwerty``, ``111111111111``.

    It removes digits and punctuation at both ends, reduces repeated text to one copy, and looks the rest up in Django's
    list.
    """

    def __init__(self) -> None:
        self._common = CommonPasswordValidator().passwords

    def validate(self, password: str, user: Any = None) -> None:
        text = password.lower().strip()
        if any(self._is_common(each) for each in (text, _DIGITS_AND_PUNCTUATION_AT_ENDS.sub("", text))):
            raise ValidationError(
                _("This is a common password with something added. Use several words that do not belong together."),
                code="password_too_common",
            )

    def _is_common(self, text: str) -> bool:
        repeated = _REPEATED.fullmatch(text)
        # A password that only repeats one character is refused even where Django's list lacks it.
        return text in self._common or (repeated is not None and (len(repeated[1]) == 1 or repeated[1] in self._common))

    def get_help_text(self) -> str:
        return "Your password can't be a common password that was only made longer."
