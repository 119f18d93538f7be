"""Every page of the operator's console in a real browser: axe-core in light and dark, no raw JSON, keyboard only.

It takes minutes; `tests/browser/test_console.py` looks at the pages that are used most.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.core.management import call_command
from django.test import RequestFactory
from django.urls import reverse
from playwright.sync_api import Page, expect

from apps.accounts.models import User
from apps.evaluation.models import Evaluation
from apps.registry.models import ModelVersion
from apps.registry.services import register
from tests.admin.conftest import pair
from tests.browser.audit import violations
from tests.browser.conftest import browser, open_page, site
from tests.browser.console_rows import fill_console
from tests.conftest import PASSWORD, Hospital
from tests.evaluation.films import write_layout
from tests.ml import tiny
from tests.results import read, version

__all__ = ["browser", "open_page", "pair", "read", "site", "version"]
pytestmark = [pytest.mark.browser, pytest.mark.long]

_JSON = re.compile(r"\{\s*[\"']\w+[\"']\s*:")


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True)


def model_pages(operator: User) -> Iterator[str]:
    """For each table: its list, the form that adds a row, and the page, history and removal of its newest row."""
    request = RequestFactory().get("/")
    request.user = operator
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        if page.has_add_permission(request):
            yield reverse(f"{name}_add")
        row = page.get_queryset(request).order_by("-pk").first()
        assert row is not None, f"{model.__name__}: make a row in tests/browser/console_rows.py"
        # A synthetic evaluation has not all the figures that the page of a measured one shows, which has its own test.
        if model is not Evaluation:
            yield reverse(f"{name}_change", args=[row.pk])
        yield reverse(f"{name}_history", args=[row.pk])
        if page.has_delete_permission(request, row):
            yield reverse(f"{name}_delete", args=[row.pk])


def own_pages(candidate: ModelVersion) -> Iterator[str]:
    """The console's own pages."""
    unmeasured = ModelVersion.objects.get(evaluations=None)
    yield reverse("admin:registry_modelversion_card", args=[unmeasured.pk])
    for page in ("activate", "evaluate", "retire"):
        yield reverse(f"admin:registry_modelversion_{page}", args=[candidate.pk])
    yield reverse("admin:deployment_challenger_start", args=[candidate.pk])
    yield reverse("admin:deployment_deployment_roll_back") + "?tenant=south"
    yield reverse("admin:deployment_deployment_unpin", args=["south"])
    yield reverse("admin:deployment_operatingpoint_what_if", args=["north"])
    yield reverse("admin:deployment_operatingpoint_read_by") + f"?version={candidate}"
    for page in ("deployment_aistop_stop", "accounts_user_invite", "evaluation_evaluationset_upload", "index"):
        yield reverse(f"admin:{page}")
    yield reverse("admin:password_change")


def sign_in(page: Page, operator: User) -> None:
    """By keyboard alone."""
    page.goto("/admin/login/")
    page.keyboard.type(operator.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()


def look_at(page: Page, addresses: Iterable[str]) -> list[str]:
    """What is wrong with the pages of these addresses."""
    found = []
    for address in addresses:
        page.goto(address)
        assert page.title(), address
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found += [f"{address}, {scheme}: {each}" for each in violations(page)]
        if shown := _JSON.search(page.locator("#content").inner_text()):
            found.append(f"{address}: raw JSON {shown[0]}")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            found.append(f"{address}: {wide} px wider than the window")
    return found


def test_every_page(
    north: Hospital,
    south: Hospital,
    version: Any,
    read: Any,
    store_film: Any,
    operator: User,
    open_page: Callable[..., Page],
) -> None:
    read(store_film(north, size=256).instance, Mass=0.7)
    candidate = fill_console(north, south, version, operator)
    page = open_page(viewport={"width": 820, "height": 1000}, reduced_motion="reduce")
    sign_in(page, operator)
    found = look_at(page, (*own_pages(candidate), *model_pages(operator)))
    assert not found, "\n".join(found)


def test_the_pages_of_a_measured_evaluation(operator: User, tmp_path: Path, open_page: Callable[..., Page]) -> None:
    version = register(artifact_dir=tiny.artifact(tmp_path / "tiny"))
    films = write_layout(tmp_path / "films", patients=64, test=24)
    boxes = "".join(f"{each},Mass,200,200,500,500\n" for each in (films / "test_list.txt").read_text().split())
    (films / "BBox_List_2017.csv").write_text('Image Index,Finding Label,"Bbox [x,y,w,h]"\n' + boxes)
    call_command("evaluate_model", f"--data={films}", reference=str(version), stdout=io.StringIO())
    measured = Evaluation.objects.get()
    assert measured.report["localisation"]["Mass"]["pointing"] is not None
    page = open_page(viewport={"width": 820, "height": 1000}, reduced_motion="reduce")
    sign_in(page, operator)
    pages = (("evaluation_evaluation_change", measured.pk), ("registry_modelversion_card", version.pk))
    for name, key in pages:
        assert not look_at(page, [reverse(f"admin:{name}", args=[key])])
        # The second column of the findings stands below its heading.
        table = page.locator("table.figures").filter(has_text="Effusion").first
        heading, cell = table.locator("th[scope=col]").nth(1).bounding_box(), table.locator("td").first.bounding_box()
        assert heading is not None
        assert cell is not None
        assert heading["x"] == pytest.approx(cell["x"], abs=1)


def test_a_version_is_put_into_service_by_keyboard(
    pair: tuple[ModelVersion, ModelVersion], operator: User, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    sign_in(page, operator)
    page.goto(reverse("admin:registry_modelversion_activate", args=[pair[1].pk]))
    for field, typed in (("why_no_preview", "No study yet."), ("reason", "It is better.")):
        tab_to(page, f"[name={field}]")
        page.keyboard.type(typed)
    tab_to(page, "input[type=submit][value='Put into service']")
    page.keyboard.press("Enter")
    expect(page.get_by_text("In service for whole platform: chest-net:2")).to_be_visible()


def tab_to(page: Page, selector: str) -> None:
    for _ in range(100):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with Tab.")
