"""Console pages of the operator's evaluation sets and of the evaluation jobs."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import NON_FIELD_ERRORS
from django.core.validators import validate_slug
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core.html_tables import table
from apps.evaluation.archives import MOST_FILES
from apps.evaluation.folders import Folder, evaluation_folders, folder_choices
from apps.evaluation.models import EvaluationJob, EvaluationSet
from apps.evaluation.services import choose_evaluation_folder, switch_evaluation_set, upload_evaluation_set
from apps.registry.models import ModelVersion
from apps.tenants.operator_admin import OperatorAdmin, run_service

_WHAT_IT_IS = "Films with known findings that belong to no hospital, and that no version was trained on."


class NameForm(forms.Form):
    name = forms.CharField(max_length=100, validators=[validate_slug], help_text="Letters, digits, - and _.")


class EvaluationSetForm(NameForm):
    folder = forms.ChoiceField(choices=folder_choices)
    split = forms.CharField(
        max_length=1000,
        required=False,
        label="List of films",
        help_text="A file of names in the folder. Empty: its test_list.txt, or the test part of its tables.",
    )


class UploadForm(NameForm):
    archive = forms.FileField(
        label="ZIP archive",
        help_text="Films as PNG, JPEG or DICOM, and labels.csv or the tables of a public data set.",
        widget=forms.ClearableFileInput(attrs={"accept": ".zip,application/zip"}),
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
            made = run_service(form, choose_evaluation_folder, **form.cleaned_data)
            if made is not None:
                self._added(request, made)
                return HttpResponseRedirect(back_to)
        folders = evaluation_folders()
        return self.page(
            request,
            title="Add an evaluation set",
            explanation=_WHAT_IT_IS,
            effect=_folders_table(folders),
            back_to=back_to,
            form=form if folders or form.is_bound else None,
            submit="Read the tables, and add the set",
        )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.upload_view)
        return [path("upload/", view, name="evaluation_evaluationset_upload"), *super().get_urls()]

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """The page of the upload. Its script asks for JSON: the address to go to, or the errors."""
        form = UploadForm(*((request.POST, request.FILES) if request.method == "POST" else ()))
        back_to = reverse("admin:evaluation_evaluationset_changelist")
        is_script = request.headers.get("Accept") == "application/json"
        if request.method == "POST" and form.is_valid():
            archive = Path(form.cleaned_data["archive"].temporary_file_path())
            made = run_service(form, upload_evaluation_set, name=form.cleaned_data["name"], archive=archive)
            if made is not None:
                self._added(request, made)
                return JsonResponse({"url": back_to}) if is_script else HttpResponseRedirect(back_to)
        if request.method == "POST" and is_script:
            errors = [f"{_label(form, field)}{text}" for field, texts in form.errors.items() for text in texts]
            return JsonResponse({"errors": errors}, status=HTTPStatus.BAD_REQUEST)
        page = self.page(
            request,
            title="Upload an evaluation set",
            explanation=f"{_WHAT_IT_IS} At most {MOST_FILES:,} files and {settings.MAX_UPLOAD_BYTES // 2**20:,} MiB, "
            "also unpacked. Nothing is stored unless every row of the tables is right and has its film.",
            back_to=back_to,
            form=form,
            submit="Upload, check and add the set",
        )
        page.template_name = "admin/evaluation/evaluationset/upload.html"
        return page

    def _added(self, request: HttpRequest, made: EvaluationSet) -> None:
        self.log_addition(request, made, f"{made.films} films of {made.patients} patients")
        messages.success(
            request,
            f"{made}: {made.films} films of {made.patients} patients. Versions that are registered from now on "
            "are evaluated on them. For an older version use Evaluate on all sets, on its page.",
        )


def _label(form: forms.Form, field: str) -> str:
    return "" if field == NON_FIELD_ERRORS else f"{form[field].label}: "


def _folders_table(folders: list[Folder]) -> SafeString:
    """Every folder that can be chosen: what it holds, and what is wrong with it."""
    upload = reverse("admin:evaluation_evaluationset_upload")
    if not folders:
        return format_html(
            '<p>There is no folder in {}. Put a data set there, or <a href="{}">upload an archive</a>.</p>',
            settings.EVALUATION_FOLDERS,
            upload,
        )
    rows = [_folder_row(each) for each in folders]
    heads = ("Folder", "Layout", "Films", "Patients", "Labelled films", "Evaluation sets", "What is wrong")
    shown = table(heads, rows)
    return format_html(
        '{}<p>The folders in {}, and uploaded ones. Or <a href="{}">upload an archive</a>.</p>',
        shown,
        settings.EVALUATION_FOLDERS,
        upload,
    )


def _folder_row(folder: Folder) -> tuple[Any, ...]:
    check = folder.check
    if check is None:
        return (folder.name, "", "", "", "", folder.used_by, "Not checked yet: it is checked when it is chosen.")
    wrong = [*check.problems, *([f"… and {check.more} more."] if check.more else [])]
    faults = format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ((each,) for each in wrong)))
    counts = (check.films, check.patients, check.labelled) if check.films else ("–", "–", "–")
    return (folder.name, check.layout or "not recognised", *counts, folder.used_by, faults if wrong else "Nothing")


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
