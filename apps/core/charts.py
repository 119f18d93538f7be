"""Draw line charts as SVG for the operator console and for PDF.

They use attributes only: both block inline styles and scripts.
"""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext

ChartPoint = tuple[float, float | None]
# The colours of Okabe and Ito (2008), which colour-blind people can distinguish. The dashes distinguish
# lines in black and white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07A00", "#3E8FC4", "#7A7A7A")
DASHES = ("", "6 3", "2 2", "8 3 2 3")
LETTER_WIDTH = 6.2
ROW_HEIGHT = 15
_LEGEND_LEFT = 24.0
_MARKED_POINTS = 40


@dataclass(frozen=True)
class ChartSeries:
    """One line; a missing value breaks it."""

    name: str
    points: Sequence[ChartPoint]


@dataclass(frozen=True)
class Axis:
    """An axis. Without `low` and `high` its range follows the values.

    Attributes:
        names: texts that stand at these values in the place of numbers, such as dates.
    """

    title: str
    low: float | None = None
    high: float | None = None
    integers_only: bool = False
    names: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    title: str
    description: str
    svg: SafeString

    @property
    def data_uri(self) -> str:
        """For documents that may fetch nothing."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True)
class Frame:
    """The plot's rectangle in the picture, in pixels, and the values at its edges.

    ``x`` and ``y`` give the place of a value in pixels.
    """

    left: float
    top: float
    right: float
    bottom: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y_low) / (self.y_high - self.y_low) * (self.bottom - self.top)


def line_chart(
    title: str,
    series: Sequence[ChartSeries],
    *,
    x: Axis,
    y: Axis,
    width: int = 460,
    height: int = 250,
    diagonal: bool = False,
) -> Chart:
    """Lines over common axes; `diagonal` draws the line of chance (ROC) or of perfect calibration (reliability)."""
    shown = [each for each in series if any(value is not None and math.isfinite(value) for _, value in each.points)]
    legend = legend_of(shown, width) if len(shown) > 1 else []
    plot = height - ROW_HEIGHT * len({row for _, row, _ in legend})
    frame = frame_of(shown, x, y, width, plot)
    parts = [grid(frame, x, y)]
    if diagonal:
        parts.append(
            f'<line x1="{frame.left}" y1="{frame.bottom}" x2="{frame.right}" y2="{frame.top}" stroke="currentColor" '
            'stroke-opacity="0.45" stroke-dasharray="3 3"/>'
        )
    parts += [line_in(each, frame, index) for index, each in enumerate(shown)]
    parts += [legend_entry(*entry, plot, index) for index, entry in enumerate(legend)]
    if not shown:
        parts.append(no_values(frame))
    return picture(title, description_of(shown, x, y), "".join(parts), width, height)


def picture(title: str, description: str, body: str, width: int, height: int) -> Chart:
    """The chart of a body, in which every text is escaped already."""
    return Chart(
        title,
        description,
        mark_safe(  # noqa: S308  every text in it is escaped where it is put in
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}" class="chart" font-family="Noto Sans, '
            f'Liberation Sans, Arial, DejaVu Sans, sans-serif" font-size="11"><title>{escape(title)}</title>'
            f"<desc>{escape(description)}</desc>{body}</svg>"
        ),
    )


def no_values(frame: Frame) -> str:
    """A text in the middle of a plot that has no line."""
    middle = (frame.left + frame.right) / 2
    return text_at(middle, (frame.top + frame.bottom) / 2, gettext("No values yet"), anchor="middle")


def ticks(low: float, high: float, *, count: int = 5, integers_only: bool = False) -> list[float]:
    """Round numbers within [low, high], about `count` of them."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= raw * 0.999)
    if integers_only:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def frame_of(series: Sequence[ChartSeries], x: Axis, y: Axis, width: int, height: int) -> Frame:
    """The plot's rectangle: room for the numbers of the y axis on its left, and for those of the x axis below."""
    x_low, x_high = _axis_range(x, (point for each in series for point, _ in each.points), padded=False)
    y_low, y_high = _axis_range(
        y, (value for each in series for _, value in each.points if value is not None), padded=True
    )
    widest = max((len(number_text(each)) for each in ticks(y_low, y_high)), default=3)
    return Frame(22 + LETTER_WIDTH * widest, 10, width - 12, height - 36, x_low, x_high, y_low, y_high)


def _axis_range(axis: Axis, values: Iterable[float], *, padded: bool) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low = min(known) if axis.low is None else axis.low
    high = max(known) if axis.high is None else axis.high
    if high <= low:
        extra = abs(low) * 0.1 or 1.0
        low, high = (low if axis.low is not None else low - extra), low + extra
    margin = (high - low) * 0.06 if padded else 0.0
    return (
        low if axis.low is not None else low - margin,
        high if axis.high is not None else high + margin,
    )


def number_text(value: float) -> str:
    """A number beside an axis: four significant digits."""
    return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"


def text_at(x: float, y: float, text: str, *, anchor: str = "start", more: str = "") -> str:
    """A text whose base line begins at a place in pixels; ``more`` are further attributes of the element."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="currentColor" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def grid(frame: Frame, x: Axis, y: Axis) -> str:
    """The axes with their titles, the numbers beside them, and a horizontal line at each number of the y axis."""
    parts = []
    for value in ticks(frame.y_low, frame.y_high, integers_only=y.integers_only):
        position = frame.y(value)
        parts.append(
            f'<line x1="{frame.left:.1f}" y1="{position:.1f}" x2="{frame.right:.1f}" y2="{position:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15" stroke-width="0.7"/>'
        )
        parts.append(text_at(frame.left - 5, position + 4, number_text(value), anchor="end"))
    places = x.names or ticks(frame.x_low, frame.x_high, integers_only=x.integers_only)
    for value in places:
        position = frame.x(value)
        parts.append(
            f'<line x1="{position:.1f}" y1="{frame.bottom:.1f}" x2="{position:.1f}" y2="{frame.bottom + 4:.1f}" '
            'stroke="currentColor" stroke-opacity="0.6"/>'
        )
        parts.append(text_at(position, frame.bottom + 15, x.names.get(value) or number_text(value), anchor="middle"))
    parts.append(
        f'<path d="M{frame.left:.1f} {frame.top:.1f}V{frame.bottom:.1f}H{frame.right:.1f}" fill="none" '
        'stroke="currentColor" stroke-opacity="0.6"/>'
    )
    parts.append(text_at((frame.left + frame.right) / 2, frame.bottom + 30, x.title, anchor="middle"))
    middle = (frame.top + frame.bottom) / 2
    parts.append(text_at(11, middle, y.title, anchor="middle", more=f' transform="rotate(-90 11 {middle:.1f})"'))
    return "".join(parts)


def line_in(series: ChartSeries, frame: Frame, index: int) -> str:
    """One series as a line with gaps where a value is missing, in the colour and dashes of its index."""
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    known = [point for point in series.points if point[1] is not None and math.isfinite(point[1])]
    path, broken = "", True
    for x, value in series.points:
        if value is None or not math.isfinite(value):
            broken = True
            continue
        path += f"{'M' if broken else 'L'}{frame.x(x):.1f} {_clamp_y(frame.y(value), frame):.1f}"
        broken = False
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    parts = [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>']
    if len(known) <= _MARKED_POINTS:
        parts += [
            f'<circle cx="{frame.x(x):.1f}" cy="{_clamp_y(frame.y(value or 0.0), frame):.1f}" r="2.2" fill="{colour}"/>'
            for x, value in known
        ]
    return "".join(parts)


def _clamp_y(y: float, frame: Frame) -> float:
    return min(max(y, frame.top), frame.bottom)


def legend_of(series: Sequence[ChartSeries], width: int) -> list[tuple[str, int, float]]:
    """(name, row, x) of each entry."""
    placed = []
    x, row = _LEGEND_LEFT, 0
    for each in series:
        need = 30 + LETTER_WIDTH * len(each.name)
        if x + need > width and x > _LEGEND_LEFT:
            x, row = _LEGEND_LEFT, row + 1
        placed.append((each.name, row, x))
        x += need
    return placed


def legend_entry(name: str, row: int, x: float, top: int, index: int) -> str:
    """One entry of the legend; ``top`` is the height of the plot above it, in pixels."""
    y = top + ROW_HEIGHT * row + 8
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x + 18:.1f}" y2="{y - 4}" stroke="{colour}" stroke-width="1.8"'
        f"{dashes}/>{text_at(x + 22, y, name)}"
    )


def description_of(series: Sequence[ChartSeries], x: Axis, y: Axis) -> str:
    """The last values as text, for screen readers."""
    if not series:
        return gettext("No values yet.")
    texts = []
    for each in series:
        known = [value for _, value in each.points if value is not None and math.isfinite(value)]
        values = {"name": each.name, "count": len(known), "last": number_text(known[-1])}
        texts.append(gettext("%(name)s: %(count)d points, last %(last)s") % values)
    return gettext("%(y)s by %(x)s.") % {"y": y.title, "x": x.title} + " " + "; ".join(texts) + "."
