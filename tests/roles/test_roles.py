"""The table against the running code; another tenant's object answers like an object that does not exist."""

import re
from collections.abc import Iterator
from typing import Any

from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, get_resolver
from drf_spectacular.generators import SchemaGenerator

from tests.roles.callers import KEYS, ROLES, World
from tests.roles.table import CONSOLE_MODELS, CONSOLE_PAGES, ROWS

# Parts of an answer that may differ: the CSRF token, and the requested identifier.
_TOKEN = re.compile(rb'(csrfmiddlewaretoken" value=")[^"]+')
_UNUSED_METHODS = ("PUT", "DELETE")
# Rows that do not exist; no test makes so many.
_NO_ROW = "999999"


def addresses() -> Iterator[tuple[str, str]]:
    """Name and route of every URL of the product."""
    yield from _walk(get_resolver().url_patterns, "", "")


def _walk(patterns: Any, route: str, namespace: str) -> Iterator[tuple[str, str]]:
    for each in patterns:
        here = route + str(each.pattern)
        if isinstance(each, URLPattern):
            # The list of applications stands in the route itself, and grows.
            route_of = re.sub(r"\^\(\?P<app_label>.*", "<app_label>/", here)
            yield (f"{namespace}:" if namespace else "") + (each.name or ""), route_of
        else:
            yield from _walk(each.url_patterns, here, each.namespace or namespace)


def console_model(route: str) -> str | None:
    """The model of one of the six pages that Django's admin gives to each."""
    found = re.fullmatch(
        r"admin/((?!password_change)\w+/\w+)/(add/|<path:object_id>/(history/|delete/|change/)?)?", route
    )
    return found[1] if found else None


def test_every_address_has_a_row() -> None:
    missing, models = set(), set()
    named = {name for name, *_ in ROWS}
    for name, route in addresses():
        if model := console_model(route):
            models.add(model)
        elif route.startswith("admin/"):
            if route not in CONSOLE_PAGES:
                missing.add(route)
        elif name not in named:
            missing.add(name)
    assert not missing, "Say in tests/roles/table.py what each role gets at these addresses."
    assert models == set(CONSOLE_MODELS), "Say in tests/roles/table.py what an operator may do with these models."
    assert named <= {name for name, _ in addresses()}, "These addresses are gone."


def test_every_operation_of_the_schema_has_a_row() -> None:
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    rows = {(method, plain(path)) for _, method, path, _ in ROWS}
    for path, operations in paths.items():
        for method in operations:
            assert (method.upper(), plain(path)) in rows, f"{method.upper()} {path}"


def plain(path: str) -> str:
    """An address without the names of its parts; a model's name and number are two in the schema, one in the table."""
    return (
        re.sub(r"\{\w+\}(/\{\w+\})?", "*", path)
        .replace("heatmaps/Effusion", "heatmaps/*")
        .replace("reports/1.", "reports/*.")
    )


def ask(client: Client, method: str, address: str) -> HttpResponseBase:
    response: Any = client.generic(method, address, b"", "application/x-www-form-urlencoded", headers={"accept": "*/*"})
    if response.streaming:
        # As a server does: the file behind the answer is closed with it.
        for _ in response:
            pass
    return response


def test_each_role_gets_its_answer(world: World) -> None:
    wrong = []
    for name, method, path, expected in ROWS:
        got = [str(ask(world.clients[role], method, path.format_map(world.names)).status_code) for role in ROLES]
        if got != expected.split():
            wrong.append(f"{name} {method}: {' '.join(got)}, not {expected}")
    assert not wrong, "\n".join(wrong)


def test_no_other_method_does_anything(world: World) -> None:
    wrong = []
    known = {(name, method) for name, method, *_ in ROWS}
    for name, path in {name: path for name, _, path, _ in ROWS}.items():
        for method in (*_UNUSED_METHODS, "GET", "POST"):
            if (name, method) in known:
                continue
            for role in ("anonymous", "radiologist", "admin", "key read"):
                status = ask(world.clients[role], method, path.format_map(world.names)).status_code
                if status not in (302, 400, 401, 403, 404, 405, 411, 415):
                    wrong.append(f"{name} {method} as {role}: {status}")
    assert not wrong, "\n".join(wrong)


def test_the_console_is_for_operators(world: World) -> None:
    wrong = []
    pages = dict(CONSOLE_PAGES)
    for model, rights in CONSOLE_MODELS.items():
        for page in ("", "add/", *(f"<path:object_id>/{each}" for each in ("", "history/", "delete/", "change/"))):
            pages[f"admin/{model}/{page}"] = rights.get(page, "302")
    for route, expected in pages.items():
        path = console_address(route, world)
        for role in ROLES:
            # A POST to the sign-out would end the session that the other rows need.
            for method in ("GET",) if "logout" in route else ("GET", "POST"):
                response = ask(world.clients[role], method, path)
                if role == "operator":
                    if method == "GET" and str(response.status_code) != expected:
                        wrong.append(f"{route} as operator: {response.status_code}, not {expected}")
                    if response.status_code >= 500:
                        wrong.append(f"{route} {method} as operator: {response.status_code}")
                elif "login/" not in route and response.status_code not in (302, 403, 404):
                    wrong.append(f"{route} {method} as {role}: {response.status_code}")
                assert b"CANARY" not in getattr(response, "content", b""), f"{route} {method} as {role}"
    assert not wrong, "\n".join(wrong)


def console_address(route: str, world: World) -> str:
    """An address of the route: with the version's key where it wants one, and rows that do not exist."""
    route = (
        route.replace("(?P<url>.*)$", "nowhere")
        .replace("<app_label>", "tenants")
        .replace("<slug:slug>", world.names["slug"])
    )
    return "/" + re.sub(r"<(path:)?\w+>", _NO_ROW, re.sub(r"<uuid:\w+>", world.names["version"], route))


def test_another_tenants_object_answers_like_one_that_exists_nowhere(world: World) -> None:
    for name, method, path, _ in ROWS:
        if path.format_map(world.names) == path.format_map(world.nowhere):
            continue
        for role in ("other key", "other member", "other admin"):
            there = masked(ask(world.clients[role], method, path.format_map(world.names)), world.names)
            nowhere = masked(ask(world.clients[role], method, path.format_map(world.nowhere)), world.nowhere)
            assert there == nowhere, f"{name} {method} as {role}"


def masked(response: HttpResponseBase, names: Any) -> tuple[int, dict[str, str], bytes]:
    """The whole answer, without the identifier that was asked for and the token against forgery."""
    content = _TOKEN.sub(rb"\1", getattr(response, "content", b""))
    headers = dict(response.items())
    for name in (*KEYS, "uid"):
        content = content.replace(names[name].encode(), b"*")
        headers = {header: value.replace(names[name], "*") for header, value in headers.items()}
    return response.status_code, headers, content
