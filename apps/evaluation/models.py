"""Evaluation sets, the evaluations on them, and the jobs that make them."""

import json
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.functional import cached_property

from apps.core.identifiers import uuid7
from apps.core.work_queue import OPEN_STATES, JobState, RenamedStateField, Work
from apps.registry.models import ModelVersion


class EvaluationSet(models.Model):
    """Films that the operator chose and no hospital owns: a folder as in `evaluate_model --data`, and a list."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=100, unique=True)
    folder = models.CharField(max_length=1000, help_text="As workers see it: absolute, in the ChestX-ray14 layout.")
    split = models.CharField(
        "list of films", max_length=1000, blank=True, help_text="A file of names; empty: the folder's test_list.txt."
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="New versions are measured on it, and must not be worse on it."
    )
    films = models.PositiveIntegerField(editable=False)
    patients = models.PositiveIntegerField(editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_evaluationset"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["folder", "split"], name="registry_one_set_of_these_films"),
        ]

    def __str__(self) -> str:
        return self.name


class Evaluation(models.Model):
    """The result of one evaluation of a version on a named list of films, written once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    evaluation_set = models.ForeignKey(EvaluationSet, null=True, on_delete=models.PROTECT, related_name="evaluations")
    split_id = models.CharField(max_length=200)
    split_sha256 = models.CharField(max_length=64)
    n = models.PositiveIntegerField()
    patients = models.PositiveIntegerField()
    mean_auroc = models.FloatField(null=True)
    # Text and not jsonb, which would lose the order of labels and groups.
    report_json = models.TextField()
    actor = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "registry_evaluation"
        ordering: ClassVar = ["-id"]

    @cached_property
    def report(self) -> dict[str, Any]:
        return json.loads(self.report_json)

    def __str__(self) -> str:
        return f"{self.model_version} on {self.split_id}, {self.at:%Y-%m-%d %H:%M}"


class EvaluationJob(Work):
    """The job that evaluates one version on one set."""

    state = RenamedStateField(stored_as={JobState.QUEUED: "waiting", JobState.REJECTED: "refused"})
    run_after = models.DateTimeField(db_default=Now(), db_column="not_before")
    lease_until = models.DateTimeField(null=True, db_column="lease_expires")
    evaluation_set = models.ForeignKey(EvaluationSet, on_delete=models.PROTECT, related_name="jobs")
    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluation_jobs")
    evaluation = models.OneToOneField(Evaluation, null=True, on_delete=models.PROTECT, related_name="job")

    class Meta(Work.Meta):
        db_table = "registry_evaluationjob"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["evaluation_set", "model_version"],
                condition=Q(state__in=OPEN_STATES),
                name="registry_one_open_evaluation",
            ),
            models.CheckConstraint(
                condition=~Q(state=JobState.COMPLETE) | Q(evaluation__isnull=False),
                name="registry_complete_evaluation_has_figures",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[JobState.REJECTED, JobState.FAILED]) | ~Q(reason=""),
                name="registry_ended_evaluation_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_version} on {self.evaluation_set}"
