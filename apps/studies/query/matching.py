"""Turns the values of a search into conditions of a query (PS3.4 C.2.2.2)."""

import datetime
import re
from collections.abc import Callable
from typing import Any, Final

from django.db.models import BooleanField, F, Func, Q, Value
from django.db.models.functions import Collate

from apps.core.errors import InvalidInputError
from apps.studies.attributes import parse_date, parse_time
from apps.studies.names import PersonName, comparable
from apps.studies.query.attributes import Attribute, Match

# The longest values that the VRs allow: LO 64, PN 3 x 64 and delimiters, and lists of UIDs.
_LONGEST: Final = {Match.NAME: 324, Match.UID: 65 * 1000}
_LONGEST_TEXT: Final = 64 * 8
# A pattern with many wildcards makes each comparison slow.
_MOST_WILDCARDS: Final = 16
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_NUMBER = re.compile(r"\+?0*([0-9]{1,12})")
_LIST = re.compile(r"[\\,]")
# Empty components at the end of a component group may be left out (PS3.5 6.2.1.1).
_END_OF_GROUP: Final = r"[\^ ]*"
# The wildcards as characters that names are never folded to: the full-width forms of * and ? are no wildcards.
_ANY, _ONE = "\ue000", "\ue001"
_WILDCARDS: Final = str.maketrans({"*": _ANY, "?": _ONE})
_LIKE: Final = str.maketrans({_ANY: "%", "%": r"\%", "_": r"\_", "\\": r"\\"})
# Letters that are stored as two characters, where ? stands for both.
_ONE_LETTER: Final = f"({'|'.join(comparable(letter) for letter in 'ßİև')}|.)"


def condition(attribute: Attribute, value: str, field: str) -> Q:
    """The condition that a field matches a value; an empty value, and ``*`` alone, match everything.

    Args:
        field: the attribute's field as the query sees it.

    Raises:
        InvalidInputError: the value is not valid for the attribute. Its text never repeats the value.
    """
    value = value.strip()
    if value.strip("*") == "":
        return Q()
    if len(value) > _LONGEST.get(attribute.match, _LONGEST_TEXT):
        raise _invalid(attribute, "is too long")
    return _MATCHES[attribute.match](attribute, value, field)


def _uid(attribute: Attribute, value: str, field: str) -> Q:
    uids = [each.strip() for each in _LIST.split(value) if each.strip()]
    if not all(len(uid) <= 64 and _UID.fullmatch(uid) for uid in uids):
        raise _invalid(attribute, "must be a UID or a list of UIDs")
    return Q(**{f"{field}__in": uids})


def _text(attribute: Attribute, value: str, field: str) -> Q:
    if "*" not in value and "?" not in value:
        return Q(**{field: value})
    return Q(**{f"{field}__regex": f"^{_pattern(attribute, value, '.')}$"})


def _code(attribute: Attribute, value: str, field: str) -> Q:
    found = Q()
    for each in _LIST.split(value):
        if each.strip():
            found |= _text(attribute, each.strip(), field)
    return found


def _name(attribute: Attribute, value: str, field: str) -> Q:
    """Without regard to case (PS3.4 C.2.2.2.1.3). A value without ``=`` may match any of the three groups."""
    if attribute.keyword == "PatientName":
        return _patient_name(attribute, value, field.removesuffix("patient_name") + "demographics_key")
    groups = [group.rstrip("^ ") for group in value.rstrip("= ").split("=")]
    patterns = [_pattern(attribute, group, "[^=]") if group else "[^=]*" for group in groups]
    if len(groups) == 1:
        return Q(**{f"{field}__iregex": f"(^|=){patterns[0]}{_END_OF_GROUP}(=|$)"})
    return Q(**{f"{field}__iregex": "^" + "=".join(f"{each}{_END_OF_GROUP}" for each in patterns) + "(=|$)"})


def _patient_name(attribute: Attribute, value: str, key: str) -> Q:
    """As other names, and without regard to spaces and character width: the groups are compared as they are stored.

    Args:
        key: the field with the demographics as they are compared; its first three elements are the groups.
    """
    groups = PersonName.parse(_collapsed(attribute, value).translate(_WILDCARDS)).keys
    found = Q()
    if "=" in value.rstrip("= "):
        for place, group in enumerate(groups):
            if group.strip(_ANY):
                found &= _group(key, place, group)
    elif groups[0].strip(_ANY):
        for place in range(len(groups)):
            found |= _group(key, place, groups[0])
    return found


def _group(key: str, place: int, wanted: str) -> Q:
    """The condition for one group, with what an index can be searched for before the first wildcard.

    Row-level security lets an index be searched only by operators that reveal nothing about rows of other tenants:
    ``^@``, "begins with", is one, LIKE is none.
    """
    # The indexes of the second and third group have only the names with such a group.
    exists = Q(**{f"{key}__{place}__gt": ""}) if place else Q()
    column = Collate(F(f"{key}__{place}"), "C")
    prefix = re.split(f"[{_ANY}{_ONE}]", wanted, maxsplit=1)[0]
    if prefix == wanted:
        return exists & _compared(column, "=", wanted)
    found = exists & _compared(column, "^@", prefix) if prefix else exists
    if _ONE in wanted:
        signs = {_ANY: ".*", _ONE: _ONE_LETTER}
        found &= _compared(column, "~", "^" + "".join(signs.get(each) or re.escape(each) for each in wanted) + "$")
    elif wanted != prefix + _ANY:
        found &= _compared(column, "LIKE", wanted.translate(_LIKE))
    # Empty components at the end may be left out (PS3.5 6.2.1.1).
    shorter = wanted.removesuffix(_ANY).rstrip("^ ") if wanted.endswith(f"^{_ANY}") else ""
    return found | _group(key, place, shorter) if shorter.strip(_ANY) else found


def _compared(column: Collate, sign: str, value: str) -> Q:
    return Q(
        Func(column, Value(value), template="(%(expressions)s)", arg_joiner=f" {sign} ", output_field=BooleanField())
    )


def _pattern(attribute: Attribute, value: str, any_character: str) -> str:
    signs = {"*": f"{any_character}*", "?": any_character}
    return "".join(signs.get(each) or re.escape(each) for each in _collapsed(attribute, value))


def _collapsed(attribute: Attribute, value: str) -> str:
    value = re.sub(r"\*+", "*", value)
    if value.count("*") > _MOST_WILDCARDS:
        raise _invalid(attribute, f"may have {_MOST_WILDCARDS} wildcards at most")
    return value


def _date(attribute: Attribute, value: str, field: str) -> Q:
    def parsed(text: str) -> datetime.date:
        found = parse_date(text)
        if found is None:
            raise _invalid(attribute, "must be YYYYMMDD, or a range such as YYYYMMDD-YYYYMMDD, YYYYMMDD- or -YYYYMMDD")
        return found

    return _range(value, field, lambda text: (parsed(text), parsed(text)))


def _time(attribute: Attribute, value: str, field: str) -> Q:
    def parsed(text: str) -> tuple[datetime.time, datetime.time]:
        begin = parse_time(text)
        if begin is None:
            raise _invalid(attribute, "must be HH, HHMM or HHMMSS, or a range of them with a hyphen")
        digits = len(text.replace(":", "").split(".")[0])
        end = begin.replace(minute=59 if digits < 4 else begin.minute, second=59 if digits < 6 else begin.second)
        return begin, end

    return _range(value, field, parsed)


def _range(value: str, field: str, parsed: Callable[[str], tuple[Any, Any]]) -> Q:
    """``A-B``, ``A-``, ``-B``, or one value, which stands for all that begins with it."""
    first, is_range, last = (part.strip() for part in value.partition("-"))
    last = last if is_range else first
    found = Q()
    if first:
        found &= Q(**{f"{field}__gte": parsed(first)[0]})
    if last:
        found &= Q(**{f"{field}__lte": parsed(last)[1]})
    return found


def _number(attribute: Attribute, value: str, field: str) -> Q:
    number = _NUMBER.fullmatch(value)
    if number is None:
        raise _invalid(attribute, "must be a whole number")
    if attribute.vr == "US":
        return Q(**{field: min(int(number[1]), 0xFFFF + 1)})
    # Stored as the text that the sender wrote.
    return Q(**{f"{field}__regex": rf"^\+?0*{number[1]}$"})


def _invalid(attribute: Attribute, what: str) -> InvalidInputError:
    return InvalidInputError(f"{attribute.keyword} {what}.", "query-value-invalid")


_MATCHES: Final[dict[Match, Callable[[Attribute, str, str], Q]]] = {
    Match.UID: _uid,
    Match.TEXT: _text,
    Match.CODE: _code,
    Match.NAME: _name,
    Match.DATE: _date,
    Match.TIME: _time,
    Match.NUMBER: _number,
}
