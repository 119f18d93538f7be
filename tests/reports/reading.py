"""Helpers that read a PDF."""

import io
from collections.abc import Iterator
from typing import Any

import pypdf


def opened(data: bytes) -> pypdf.PdfReader:
    return pypdf.PdfReader(io.BytesIO(data), strict=True)


def text_of(file: pypdf.PdfReader) -> str:
    return "\n".join(page.extract_text() for page in file.pages)


def figure_texts(structure: Any) -> list[str]:
    """The alternative texts of all figures in a structure tree."""
    return [element.get("/Alt", "") for element in _elements(structure) if element.get("/S") == "/Figure"]


def structure_of(structure: Any) -> list[Any]:
    """All elements of a structure tree, in reading order."""
    return list(_elements(structure))


def _elements(node: Any) -> Iterator[Any]:
    node = node.get_object() if hasattr(node, "get_object") else node
    if isinstance(node, list):
        for each in node:
            yield from _elements(each)
    elif isinstance(node, dict):
        yield node
        yield from _elements(node.get("/K", []))
