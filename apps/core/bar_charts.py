"""Bar charts and charts of shares with their intervals, as SVG: see `apps.core.charts`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from apps.core.charts import (
    COLOURS,
    LETTER_WIDTH,
    ROW_HEIGHT,
    Axis,
    Chart,
    ChartSeries,
    Frame,
    description_of,
    frame_of,
    grid,
    legend_entry,
    legend_of,
    line_in,
    no_values,
    number_text,
    picture,
    text_at,
    ticks,
)

_BAR = 0.8
_SHARE_ROW = 20


@dataclass(frozen=True)
class ShareRow:
    """A share with its interval; ``expected`` is marked where it is known."""

    name: str
    share: float | None
    low: float = 0.0
    high: float = 0.0
    expected: float | None = None


def stacked_bars(
    title: str,
    stacks: Sequence[ChartSeries],
    lines: Sequence[ChartSeries] = (),
    *,
    x: Axis,
    y: Axis,
    width: int = 460,
    height: int = 250,
) -> Chart:
    """One bar for each x, made of the values of the stacks from the axis up, and lines above the bars.

    The stacks have the same points, at whole numbers of x. A stack without any value is left out.
    """
    shown = [each for each in stacks if any(value for _, value in each.points)]
    series = [*shown, *(each for each in lines if any(value for _, value in each.points))]
    legend = legend_of(series, width)
    plot = height - ROW_HEIGHT * len({row for _, row, _ in legend})
    places = [place for place, _ in stacks[0].points]
    heights = [math.fsum(each.points[index][1] or 0.0 for each in shown) for index in range(len(places))]
    whole = ChartSeries("", [*zip(places, heights, strict=True), *(point for each in lines for point in each.points)])
    outer = Axis(x.title, min(places) - 0.5, max(places) + 0.5, names=x.names)
    frame = frame_of([whole], outer, y, width, plot)
    body = [grid(frame, outer, y)]
    below = [0.0] * len(places)
    for index, each in enumerate(shown):
        tops = [low + (value or 0.0) for low, (_, value) in zip(below, each.points, strict=True)]
        body += [_bar(frame, *bar, COLOURS[index]) for bar in zip(places, below, tops, strict=True)]
        below = tops
    body += [line_in(each, frame, index) for index, each in enumerate(series) if index >= len(shown)]
    body += [
        _box_entry(*entry, plot, index) if index < len(shown) else legend_entry(*entry, plot, index)
        for index, entry in enumerate(legend)
    ]
    if not series:
        body.append(no_values(frame))
    return picture(title, description_of(series, x, y), "".join(body), width, height)


def share_rows(title: str, rows: Sequence[ShareRow], *, x_title: str, expected: str, width: int = 460) -> Chart:
    """One row for each share, from 0 to 1: a dot, its interval as a line, and a small line at what is expected.

    Args:
        expected: what the small lines are, for the legend.
    """
    left = 16 + LETTER_WIDTH * max((len(each.name) for each in rows), default=0)
    high = max([each.high for each in rows] + [each.expected or 0.0 for each in rows] + [0.05])
    axis = Axis(x_title, 0.0, min(1.0, high * 1.05))
    bottom = 10 + _SHARE_ROW * max(1, len(rows))
    frame = Frame(left, 10, width - 16, bottom, 0.0, axis.high or 1.0, 0.0, 1.0)
    body = [_upright_lines(frame, axis)]
    for index, each in enumerate(rows):
        body.append(_share_row(frame, each, 10 + _SHARE_ROW * (index + 0.5)))
    has_expected = any(each.expected is not None for each in rows)
    if has_expected:
        legend_y = bottom + 48
        body.append(_expected_mark(30, legend_y - 4) + text_at(40, legend_y, expected))
    if not rows:
        body.append(no_values(frame))
    texts = [f"{each.name}: {number_text(each.share)}" for each in rows if each.share is not None]
    description = "; ".join(texts) or gettext("No values yet.")
    return picture(title, description, "".join(body), width, bottom + (56 if has_expected else 38))


def _bar(frame: Frame, place: float, low: float, high: float, colour: str) -> str:
    if high <= low:
        return ""
    left, right = frame.x(place - _BAR / 2), frame.x(place + _BAR / 2)
    top = frame.y(high)
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{frame.y(low) - top:.1f}" '
        f'fill="{colour}"/>'
    )


def _box_entry(name: str, row: int, x: float, top: int, index: int) -> str:
    y = top + ROW_HEIGHT * row + 8
    return f'<rect x="{x:.1f}" y="{y - 9}" width="12" height="10" fill="{COLOURS[index]}"/>{text_at(x + 16, y, name)}'


def _upright_lines(frame: Frame, axis: Axis) -> str:
    parts = []
    for value in ticks(frame.x_low, frame.x_high):
        place = frame.x(value)
        parts.append(
            f'<line x1="{place:.1f}" y1="{frame.top}" x2="{place:.1f}" y2="{frame.bottom}" stroke="currentColor" '
            'stroke-opacity="0.15" stroke-width="0.7"/>'
        )
        parts.append(text_at(place, frame.bottom + 15, number_text(value), anchor="middle"))
    parts.append(text_at((frame.left + frame.right) / 2, frame.bottom + 30, axis.title, anchor="middle"))
    return "".join(parts)


def _share_row(frame: Frame, row: ShareRow, y: float) -> str:
    parts = [text_at(frame.left - 8, y + 4, row.name, anchor="end")]
    if row.share is not None:
        low, high = frame.x(row.low), frame.x(row.high)
        parts.append(
            f'<line x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}" stroke="{COLOURS[0]}" stroke-width="2.4"/>'
            f'<circle cx="{frame.x(row.share):.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>'
        )
    if row.expected is not None:
        parts.append(_expected_mark(frame.x(row.expected), y))
    return "".join(parts)


def _expected_mark(x: float, y: float) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y - 7:.1f}" x2="{x:.1f}" y2="{y + 7:.1f}" stroke="{COLOURS[1]}" stroke-width="2.4"/>'
    )
