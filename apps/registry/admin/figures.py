"""Figures with their intervals, as the pages show them."""

from typing import Any


def figure(part: dict[str, Any], name: str) -> str:
    if part.get(name) is None:
        return "–"
    interval = part.get("ci95")
    return f"{part[name]:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")
