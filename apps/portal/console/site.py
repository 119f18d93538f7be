"""The operator's console, with its tables grouped by task and a home page that says what needs attention."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from apps.accounts.admin_site import OperatorSite
from apps.portal.console.overview import overview

TASKS: Final[Mapping[str, Sequence[str]]] = {
    "Serving": (
        "Deployment", "ActivationRequest", "Activation", "OperatingPoint", "Recalibration", "Offer", "Challenger",
        "AiStop", "DriftWeek", "DriftReference",
    ),
    "Versions": ("ModelVersion", "SwitchPreview", "PreviewJob", "ChangePlan"),
    "Evaluation": ("Evaluation", "EvaluationJob", "EvaluationSet"),
    "Training": ("TrainingRun",),
    "Tenants": ("Tenant", "User"),
    "Integration": ("WebhookEndpoint", "WebhookDelivery", "ModelEvent"),
    "Operation": ("Worker", "InferenceJob", "SecurityEvent", "LogEntry"),
}  # fmt: skip
"""The tables of each task, by the names of their models, in the order in which an operator needs them."""


class ConsoleSite(OperatorSite):
    index_template = "operator/home.html"
    index_title = "Overview"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """The tasks with their tables; Django groups them by package, which means nothing to an operator."""
        packages = super().get_app_list(request, app_label)
        if app_label is not None:
            return packages
        tables = {table["object_name"]: table for package in packages for table in package["models"]}
        tasks = {task: [tables.pop(name) for name in names if name in tables] for task, names in TASKS.items()}
        assert not tables, f"Name the task of these tables in TASKS: {sorted(tables)}."
        return [_group(task, shown) for task, shown in tasks.items() if shown]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, (extra_context or {}) | {"overview": overview()})


def _group(task: str, tables: list[Any]) -> dict[str, Any]:
    """A group in the form of Django's list of packages."""
    label = f"task-{task.lower()}"
    return {
        "name": task,
        "app_label": label,
        "app_url": f"{reverse('admin:index')}#{label}",
        "has_module_perms": True,
        "models": tables,
    }
