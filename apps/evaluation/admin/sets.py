"""Console pages of the operator's evaluation sets and of the evaluation jobs."""

from django import forms
from django.contrib import admin, messages
from django.core.validators import validate_slug
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.core.html_tables import table
from apps.evaluation.models import EvaluationJob, EvaluationSet
from apps.evaluation.services import create_evaluation_set, switch_evaluation_set
from apps.registry.models import ModelVersion
from apps.tenants.operator_admin import OperatorAdmin, run_service

_WIDE = forms.TextInput(attrs={"size": 60})


class EvaluationSetForm(forms.Form):
    name = forms.CharField(max_length=100, validators=[validate_slug], help_text="Letters, digits, - and _.")
    folder = forms.CharField(
        max_length=1000,
        widget=_WIDE,
        help_text="The absolute path, as the jobs worker sees it; in a layout of docs/data.md.",
    )
    split = forms.CharField(
        max_length=1000,
        required=False,
        widget=_WIDE,
        label="List of films",
        help_text="A file; empty: the folder's test_list.txt.",
    )


@admin.register(EvaluationSet)
class EvaluationSetAdmin(OperatorAdmin):
    is_writable = True
    list_display = ("name", "is_active", "films", "patients", "folder", "split", "created")
    fields = ("name", "is_active", "folder", "split", "films", "patients", "created")
    readonly_fields = ("name", "folder", "split", "films", "patients", "created")

    def save_model(self, request: HttpRequest, obj: EvaluationSet, form: forms.ModelForm, change: bool) -> None:
        switch_evaluation_set(name=obj.name, is_active=obj.is_active)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: object = None) -> HttpResponse:
        form = EvaluationSetForm(request.POST if request.method == "POST" else None)
        back_to = reverse("admin:evaluation_evaluationset_changelist")
        if request.method == "POST" and form.is_valid():
            made = run_service(form, create_evaluation_set, **form.cleaned_data)
            if made is not None:
                self.log_addition(request, made, f"{made.films} films of {made.patients} patients")
                messages.success(
                    request,
                    f"{made}: {made.films} films of {made.patients} patients. Versions that are registered from now on "
                    "are evaluated on them. For an older version use Evaluate on all sets, on its page.",
                )
                return HttpResponseRedirect(back_to)
        return self.page(
            request,
            title="Add an evaluation set",
            explanation="Films with known findings that belong to no hospital, and that no version was trained on.",
            back_to=back_to,
            form=form,
            submit="Read the tables, and add the set",
        )


@admin.register(EvaluationJob)
class EvaluationJobAdmin(OperatorAdmin):
    list_display = ("created", "model_version", "evaluation_set", "state", "attempts", "reason", "finished")
    list_filter = ("state", "evaluation_set")
    list_select_related = ("model_version", "evaluation_set")
    fields = (
        "model_version", "evaluation_set", "state", "attempts", "reason", "worker", "evaluation", "created",
        "run_after", "lease_until", "finished",
    )  # fmt: skip
    readonly_fields = fields


def jobs_table(version: ModelVersion) -> SafeString | str:
    """The latest evaluation jobs of a version."""
    jobs = version.evaluation_jobs.select_related("evaluation_set")[:20]
    rows = [
        (
            format_html(
                '<a href="{}">{}</a>',
                reverse("admin:evaluation_evaluationjob_change", args=[job.pk]),
                job.evaluation_set,
            ),
            job.get_state_display(),
            job.attempts,
            job.reason,
        )
        for job in jobs
    ]
    return table(("Set", "State", "Attempts", "Why"), rows) if rows else "None"
