"""Finds what would break a client in the step from one OpenAPI document to another."""

from collections.abc import Iterator
from typing import Any

_METHODS = {"get", "post", "put", "patch", "delete"}


def breaking_changes(released: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """What a client of the released document relies on and no longer finds, and what it must send and does not."""
    found: list[str] = []
    for path, operations in released["paths"].items():
        for method in sorted(operations.keys() & _METHODS):
            where = f"{method.upper()} {path}"
            now = current["paths"].get(path, {}).get(method)
            if now is None:
                found.append(f"{where}: removed")
            else:
                found += _Operation(released, current, where).changes(operations[method], now)
    return found


class _Operation:
    """Compares one operation of the two documents, whose parts may be references."""

    def __init__(self, released: dict[str, Any], current: dict[str, Any], where: str) -> None:
        self.released, self.current, self.where = released, current, where

    def changes(self, before: Any, now: Any) -> Iterator[str]:
        had, has = ({(each["in"], each["name"]): each for each in of.get("parameters", [])} for of in (before, now))
        for key in had.keys() | has.keys():
            yield from self._named(f"parameter {key[1]}", had.get(key), has.get(key))
        body, body_now = before.get("requestBody", {}), now.get("requestBody", {})
        if body_now.get("required") and not body.get("required"):
            yield f"{self.where}: body: required"
        yield from self._contents("body", body, body_now, is_answer=False)
        for status, answer in before["responses"].items():
            if status.startswith("2"):
                yield from self._contents(f"answer {status}", answer, now["responses"].get(status, {}), is_answer=True)

    def _named(self, name: str, before: Any, now: Any) -> Iterator[str]:
        if now is None:
            yield f"{self.where}: {name}: removed"
        elif now.get("required") and not (before or {}).get("required"):
            yield f"{self.where}: {name}: required"
        elif before is not None:
            yield from self._schema(name, before["schema"], now["schema"], is_answer=False)

    def _contents(self, name: str, before: Any, now: Any, *, is_answer: bool) -> Iterator[str]:
        for kind, media in before.get("content", {}).items():
            if kind not in now.get("content", {}):
                yield f"{self.where}: {name} {kind}: removed"
            else:
                schemas = media.get("schema", {}), now["content"][kind].get("schema", {})
                yield from self._schema(name, *schemas, is_answer=is_answer)

    def _schema(self, name: str, before: Any, now: Any, *, is_answer: bool) -> Iterator[str]:
        before, now = _resolved(self.released, before), _resolved(self.current, now)
        where = f"{self.where}: {name}"
        if before.get("type") != now.get("type"):
            yield f"{where}: {before.get('type')} became {now.get('type')}"
            return
        if missing := _values(self.released, before) - _values(self.current, now):
            yield f"{where}: {', '.join(sorted(missing))}: removed"
        if is_answer and now.get("nullable") and not before.get("nullable"):
            yield f"{where}: may be null"
        required, required_now = set(before.get("required", [])), set(now.get("required", []))
        # An answer must keep what it always had; a request must not need more.
        changed, verb = (required - required_now, "no longer always there")
        if not is_answer:
            changed, verb = required_now - required, "required"
        yield from (f"{where}.{each}: {verb}" for each in sorted(changed))
        for each, schema in before.get("properties", {}).items():
            if each not in now.get("properties", {}):
                yield f"{where}.{each}: removed"
            else:
                yield from self._schema(f"{name}.{each}", schema, now["properties"][each], is_answer=is_answer)
        if "items" in before:
            yield from self._schema(f"{name}[]", before["items"], now.get("items", {}), is_answer=is_answer)


def _resolved(document: dict[str, Any], schema: Any) -> Any:
    """The schema, without references: drf-spectacular wraps one in ``allOf`` where it adds a text or ``nullable``."""
    found = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
    for each in schema.get("allOf", []):
        found = _resolved(document, each) | found
    if "$ref" in schema:
        found = _resolved(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]) | found
    return found


def _values(document: dict[str, Any], schema: Any) -> set[str]:
    """The values of an enumeration; empty where any value is allowed. One with alternatives has them all."""
    values = {str(each) for each in schema.get("enum", [])}
    for each in schema.get("oneOf", []):
        values |= _values(document, _resolved(document, each))
    return values
