"""The DICOM JSON Model (PS3.18 annex F) of attributes that are stored in the database."""

from collections.abc import Mapping
from typing import Any

from apps.studies.query.attributes import ATTRIBUTES

JsonDataset = dict[str, dict[str, Any]]
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = ("IS", "US")
CHARACTER_SET: JsonDataset = {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}


def json_dataset(values: Mapping[str, Any], retrieve_url: str) -> JsonDataset:
    """One result of a search, in the order of the tags; an empty attribute has no Value.

    Args:
        values: by keyword of `apps.studies.query.attributes`.
    """
    found = {ATTRIBUTES[keyword].tag: _element(ATTRIBUTES[keyword].vr, value) for keyword, value in values.items()}
    found["00081190"] = {"vr": "UR", "Value": [retrieve_url]}
    return dict(sorted((CHARACTER_SET | found).items()))


def _element(vr: str, value: Any) -> dict[str, Any]:
    several = value if isinstance(value, list) else [] if value is None else [value]
    shown = [_one(vr, each) for each in several]
    return {"vr": vr, "Value": shown} if any(each is not None for each in shown) else {"vr": vr}


def _one(vr: str, value: Any) -> Any:
    if vr == "PN":
        return {name: group for name, group in zip(_GROUPS, value.split("="), strict=False) if group} or None
    if vr in _NUMBERS:
        try:
            return int(value)
        except ValueError:
            # What the sender wrote is no number; JSON allows the text of an IS as well.
            return value
    return value or None
