"""Console page of training runs; a script reloads the progress part every few seconds."""

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.tenants.operator_admin import OperatorAdmin, reference
from apps.training.curves import training_curves
from apps.training.models import TrainingRun

_LIVE = "admin/training/trainingrun/live.html"


@admin.register(TrainingRun)
class TrainingRunAdmin(OperatorAdmin):
    list_display = (
        "name", "shown_state", "done", "epoch_of", "auroc", "speed", "time_left", "created", "model_version",
    )  # fmt: skip
    list_filter = ("state",)
    list_select_related = ("model_version",)
    fields = ("id", "name", "architecture", "nodes", "created", "actor", "folder", "used_settings")
    readonly_fields = fields
    json_files: ClassVar = {"settings": lambda run: run.settings}

    @admin.display(description="State")
    def shown_state(self, run: TrainingRun) -> SafeString:
        return format_html(
            '<span class="condition {}">{}</span>', "lost" if run.is_lost else run.state, state_label(run)
        )

    @admin.display(description="Done")
    def done(self, run: TrainingRun) -> SafeString:
        return format_html('<progress max="1" value="{}"></progress> {} %', run.progress, round(100 * run.progress))

    @admin.display(description="Epoch")
    def epoch_of(self, run: TrainingRun) -> str:
        return f"{run.epoch} of {run.epochs}"

    @admin.display(description="Validation AUROC")
    def auroc(self, run: TrainingRun) -> str:
        return "–" if run.validation_auroc is None else f"{run.validation_auroc:.4f}"

    @admin.display(description="Images/s")
    def speed(self, run: TrainingRun) -> str:
        return "–" if run.images_per_s is None else f"{run.images_per_s:,.1f}"

    @admin.display(description="Time left")
    def time_left(self, run: TrainingRun) -> str:
        return duration(None if run.is_lost else run.remaining)

    @admin.display(description="Settings")
    def used_settings(self, run: TrainingRun) -> SafeString:
        return self.shown_json(run, "settings")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.live_view)
        return [path("<uuid:run_id>/live/", view, name="training_trainingrun_live"), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        run = context["original"]
        context |= {
            "live": render_live(run),
            "live_url": reverse("admin:training_trainingrun_live", args=[run.pk]),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def live_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        return HttpResponse(render_live(get_object_or_404(TrainingRun, pk=run_id)))


def state_label(run: TrainingRun) -> str:
    return "Lost contact" if run.is_lost else run.get_state_display()


def duration(left: timedelta | None) -> str:
    if left is None:
        return "–"
    minutes = round(left.total_seconds() / 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60:02} min" if hours else f"{minutes} min" if minutes else "under a minute"


def render_live(run: TrainingRun) -> str:
    """The part of the page that changes while the run is open."""
    return render_to_string(
        _LIVE,
        {
            "run": run,
            "condition": state_label(run),
            "forecast": _forecast(run.forecast),
            "facts": _facts(run),
            "curves": training_curves(run),
            "last_epochs": run.epoch_rows.order_by("-epoch")[:10],
        },
    )


def _facts(run: TrainingRun) -> list[tuple[str, str]]:
    """The figures of a run, as pairs of name and text."""
    return [
        ("Epoch", f"{run.epoch} of {run.epochs}" + (f", step {run.step} of {run.steps_per_epoch}" if run.step else "")),
        ("Training loss", _rounded(run.loss, 4)),
        ("Validation AUROC", _rounded(run.validation_auroc, 4)),
        ("Learning rate", "–" if run.lr is None else f"{run.lr:.2e}"),
        ("Images/s", _rounded(run.images_per_s, 1)),
        ("Waiting for data", "–" if run.data_wait is None else f"{100 * run.data_wait:.1f} %"),
        ("Time left", duration(None if run.is_lost else run.remaining)),
        ("Films", f"{run.train_films or '–'} to train on, {run.validation_films or '–'} for validation"),
        ("Ranks", f"{run.world_size or '–'} on {run.nodes} nodes, {run.backend or '–'}, {run.device or '–'}"),
        ("Global batch", str(run.global_batch or "–")),
        ("Restarts", str(run.restarts)),
        ("Started", _moment(run.started)),
        ("Last progress", _moment(run.heartbeat)),
        ("Ended", _moment(run.finished)),
        ("Chosen epoch", str(run.selected_epoch or "–")),
        ("Version", reference(run.model_version)),
    ]


def _forecast(forecast: dict[str, float] | None) -> str:
    """The forecast of the probe that measured the network between the ranks at the launch, as text."""
    if forecast is None:
        return ""
    return (
        f"Each step transfers {forecast['wire_bytes'] / 1e6:.1f} MB per rank at "
        f"{forecast['bytes_per_second'] / 1e6:.0f} MB/s: {1e3 * forecast['communication']:.0f} ms, beside "
        f"{1e3 * forecast['computation']:.0f} ms of computing. The network "
        f"leaves {100 * forecast['efficiency']:.0f} % of the computing rate."
    )


def _rounded(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _moment(at: Any) -> str:
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"
