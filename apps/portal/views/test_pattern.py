"""A test pattern, with which a reader checks the monitor: whether it shows all greys, as the GSDF asks for (PS3.14)."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.portal.access import MemberRequest, members_only

_STEPS = 18
_COLUMNS = 6
_SIDE = 100
_FAINT = 6
"""A difference of six of 256 greys (2.4 % of the range) is seen on each step of a monitor that follows the GSDF."""


@require_GET
@members_only
def test_pattern(request: MemberRequest) -> HttpResponse:
    patches = [
        {
            "x": (step % _COLUMNS) * _SIDE,
            "y": (step // _COLUMNS) * _SIDE,
            "grey": grey,
            "faint": grey + _FAINT if grey < 128 else grey - _FAINT,
        }
        for step in range(_STEPS)
        for grey in [round(255 * step / (_STEPS - 1))]
    ]
    context = {
        "patches": patches,
        "ramp": [{"x": 600 * grey / 256, "grey": grey} for grey in range(256)],
        "black": [round(255 * share / 100) for share in (0, 5)],
        "white": [round(255 * share / 100) for share in (100, 95)],
        "lines": range(0, 60, 2),
    }
    return render(request, "portal/test_pattern.html", context)
