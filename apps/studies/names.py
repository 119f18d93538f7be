"""Person names (DICOM PS3.5 6.2.1.2): their three component groups, and their forms for display and comparison."""

import re
import unicodedata
from dataclasses import dataclass

_SPACES = re.compile(r"\s+")
# NFKC makes up to 18 characters of one, and an index of PostgreSQL takes values of about 2,700 bytes at most.
_LONGEST_KEY = 400


@dataclass(frozen=True)
class PersonName:
    """A PN value. Each group is the raw text between the equals signs, empty where the value has no such group."""

    alphabetic: str = ""
    ideographic: str = ""
    phonetic: str = ""

    @classmethod
    def parse(cls, value: str) -> "PersonName":
        """The groups of a raw PN value; text after a third equals sign is not part of the standard and is ignored."""
        groups = [group if group.replace("^", "").strip() else "" for group in value.split("=")]
        return cls(*[*groups, "", "", ""][:3])

    @property
    def short(self) -> str:
        """The name in one line: alphabetic, else ideographic, else phonetic; empty where the value names no person."""
        if self.alphabetic:
            return _western(self.alphabetic)
        return _spaced(self.ideographic or self.phonetic)

    @property
    def full(self) -> str:
        """The alphabetic and the ideographic name where the value has both, else as ``short``."""
        if self.alphabetic and self.ideographic:
            return f"{_western(self.alphabetic)} ({_spaced(self.ideographic)})"
        return self.short

    @property
    def keys(self) -> tuple[str, str, str]:
        """The groups in the form in which two names are compared: see ``comparable``."""
        alphabetic, ideographic, phonetic = (
            "^".join(comparable(component) for component in group.split("^"))[:_LONGEST_KEY].rstrip("^")
            for group in (self.alphabetic, self.ideographic, self.phonetic)
        )
        return alphabetic, ideographic, phonetic


def comparable(text: str) -> str:
    """Text without the differences that systems introduce: case, character width and spaces.

    NFKC makes the half-width katakana of ISO_IR 13 equal to the full-width ones of ISO 2022 IR 87.
    """
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def _components(group: str) -> list[str]:
    return [component.strip() for component in group.split("^")]


def _western(group: str) -> str:
    """Family name, given and middle name, suffix. The suffix distinguishes a father from his son."""
    family, given, middle, _prefix, suffix = [*_components(group), "", "", "", "", ""][:5]
    return ", ".join(each for each in (family, f"{given} {middle}".strip(), suffix) if each) or group.strip("^ ")


def _spaced(group: str) -> str:
    """Family name first, without a comma, as ideographic and phonetic names are written."""
    return " ".join(component for component in _components(group) if component)
