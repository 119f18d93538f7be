"""Charts are well-formed, have names, work under a strict content policy, and accept any values."""

import base64
import math
import re
from xml.etree import ElementTree

import pytest

from apps.core.charts import Axis, Chart, ChartSeries, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"
X, Y = Axis("epoch", integers_only=True), Axis("loss")


def parsed(chart: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg)  # noqa: S314  our own text


@pytest.mark.parametrize(
    ("low", "high", "integers_only", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 4, True, [1, 2, 3, 4]),
        (0, 75, True, [0, 20, 40, 60]),
        (0.5031, 0.5049, False, [0.5035, 0.504, 0.5045]),
        (-3e-6, 2e-6, False, [-3e-6, -2e-6, -1e-6, 0, 1e-6, 2e-6]),
        (1, 1.4, True, [1]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, integers_only: bool, expected: list[float]) -> None:
    assert ticks(low, high, integers_only=integers_only) == pytest.approx(expected)


def test_a_line_is_drawn_where_its_values_are() -> None:
    chart = line_chart("Loss", [ChartSeries("loss", [(1, 0.0), (2, 10.0), (3, 5.0)])], x=X, y=Axis("loss", 0.0, 10.0))
    (line,) = [each for each in parsed(chart).iter(f"{SVG}path") if each.get("stroke", "").startswith("#")]
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", line.get("d", ""))]
    (left, bottom), (middle, top), (right, half) = points
    assert left < middle < right
    assert middle == pytest.approx((left + right) / 2, abs=0.2)
    assert half == pytest.approx((top + bottom) / 2, abs=0.2)
    assert bottom > top


def test_a_missing_value_breaks_the_line() -> None:
    chart = line_chart("AUROC", [ChartSeries("auroc", [(1, 0.5), (2, None), (3, 0.7), (4, math.nan)])], x=X, y=Y)
    (line,) = [each for each in parsed(chart).iter(f"{SVG}path") if each.get("stroke", "").startswith("#")]
    assert line.get("d", "").count("M") == 2
    assert "nan" not in chart.svg
    assert len(list(parsed(chart).iter(f"{SVG}circle"))) == 2


@pytest.mark.parametrize(
    "points", [[], [(1, None)], [(1, 0.0)], [(1, 5.0)], [(1, 1e-9), (2, 1e12)], [(1, -2.0), (1, -2.0)]]
)
def test_any_values_make_a_chart(points: list[tuple[float, float | None]]) -> None:
    chart = line_chart("Any", [ChartSeries("any", points)], x=X, y=Y)
    numbers = [float(each) for each in re.findall(r'(?:x|y|cx|cy|x1|y1|x2|y2)="([-\d.e+]+)"', chart.svg)]
    assert all(-1 <= each <= 470 for each in numbers)
    assert ("No values yet" in chart.svg) == all(value is None for _, value in points)


def test_a_chart_is_named_told_and_free_of_styles_and_markup_from_outside() -> None:
    bad = '<script>alert("1")</script>'
    chart = line_chart(bad, [ChartSeries(bad, [(1, 1)]), ChartSeries("rank 1", [(1, 2)])], x=Axis(bad), y=Axis(bad))
    root = parsed(chart)
    assert root.get("aria-label") == bad
    assert root.findtext(f"{SVG}title") == bad
    assert "rank 1: 1 points, last 2" in (root.findtext(f"{SVG}desc") or "")
    assert chart.description == root.findtext(f"{SVG}desc")
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags == {"svg", "title", "desc", "line", "text", "path", "circle"}
    assert not any("style" in each.attrib for each in root.iter())
    assert base64.b64decode(chart.data_uri.split(",")[1]).decode() == chart.svg


def test_lines_are_told_apart_by_more_than_colour() -> None:
    chart = line_chart("Ranks", [ChartSeries(f"rank {i}", [(1, i), (2, i)]) for i in range(4)], x=X, y=Y)
    lines = [each for each in parsed(chart).iter(f"{SVG}path") if each.get("stroke", "").startswith("#")]
    assert len({each.get("stroke") for each in lines}) == 4
    assert len({each.get("stroke-dasharray") for each in lines}) == 4
    assert sum((each.text or "").startswith("rank") for each in parsed(chart).iter(f"{SVG}text")) == 4
