"""A hospital's own share of confirmed flags, as a reader can picture it: "1 in 6"."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.quality.selectors import ConfirmedShare

# Up to this share one is counted among so many; above its counterpart, all but one.
_RARE, _COMMON = 0.35, 0.9


def confirmed_text(found: ConfirmedShare) -> str:
    """What to expect of a flagged finding at this hospital, with Wilson's 95 % interval and the number of verdicts."""
    low, high = (_among(*_in_whole_numbers(share)) if 0 < share < 1 else "" for share in found.interval.pair())
    values = {"verdicts": found.verdicts, "low": low, "high": high}
    if found.confirmed == 0:
        return _("At this site none of %(verdicts)d flagged like this was confirmed (at most %(high)s).") % values
    if found.confirmed == found.verdicts:
        return _("At this site all %(verdicts)d flagged like this were confirmed (at least %(low)s).") % values
    some, whole = _in_whole_numbers(found.share)
    text = ngettext(
        "At this site %(share)s flagged like this was confirmed (between %(low)s and %(high)s), from %(verdicts)d "
        "verdicts.",
        "At this site %(share)s flagged like this were confirmed (between %(low)s and %(high)s), from %(verdicts)d "
        "verdicts.",
        some,
    )
    return text % {**values, "share": _among(some, whole)}


def _in_whole_numbers(share: float) -> tuple[int, int]:
    """So many of so many, for a share between 0 and 1, both excluded."""
    if share <= _RARE:
        return 1, round(1 / share)
    if share > _COMMON:
        whole = round(1 / (1 - share))
        return whole - 1, whole
    return round(10 * share), 10


def _among(some: int, whole: int) -> str:
    # Translators: a share, such as 1 in 6
    return _("%(some)d in %(whole)d") % {"some": some, "whole": whole}
