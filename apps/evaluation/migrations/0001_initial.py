"""The models that this app took over from registry. Their tables stay as they are, so only the state changes."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import apps.core.identifiers


class Migration(migrations.Migration):
    dependencies = [
        ("registry", "0019_requests_that_replace"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="EvaluationSet",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("name", models.SlugField(max_length=100, unique=True)),
                        (
                            "folder",
                            models.CharField(
                                help_text="As workers see it: absolute, in the ChestX-ray14 layout.", max_length=1000
                            ),
                        ),
                        (
                            "split",
                            models.CharField(
                                blank=True,
                                help_text="A file of names; empty: the folder's test_list.txt.",
                                max_length=1000,
                                verbose_name="list of films",
                            ),
                        ),
                        (
                            "is_active",
                            models.BooleanField(
                                default=True,
                                help_text="New versions are measured on it, and must not be worse on it.",
                                verbose_name="active",
                            ),
                        ),
                        ("films", models.PositiveIntegerField(editable=False)),
                        ("patients", models.PositiveIntegerField(editable=False)),
                        ("created", models.DateTimeField(auto_now_add=True)),
                    ],
                    options={
                        "db_table": "registry_evaluationset",
                        "ordering": ["name"],
                        "constraints": [
                            models.UniqueConstraint(fields=("folder", "split"), name="registry_one_set_of_these_films")
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Evaluation",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("split_id", models.CharField(max_length=200)),
                        ("split_sha256", models.CharField(max_length=64)),
                        ("n", models.PositiveIntegerField()),
                        ("patients", models.PositiveIntegerField()),
                        ("mean_auroc", models.FloatField(null=True)),
                        ("report_json", models.TextField()),
                        ("actor", models.CharField(max_length=100)),
                        ("at", models.DateTimeField(auto_now_add=True)),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="evaluations",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "evaluation_set",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="evaluations",
                                to="evaluation.evaluationset",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_evaluation",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="EvaluationJob",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("waiting", "Waits"),
                                    ("running", "Runs"),
                                    ("complete", "Complete"),
                                    ("refused", "Refused"),
                                    ("failed", "Failed"),
                                ],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        ("attempts", models.PositiveIntegerField(default=0)),
                        ("fence", models.PositiveIntegerField(default=0)),
                        ("worker", models.CharField(blank=True, max_length=200)),
                        ("not_before", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ("lease_expires", models.DateTimeField(null=True)),
                        ("reason", models.TextField(blank=True)),
                        ("created", models.DateTimeField(auto_now_add=True)),
                        ("finished", models.DateTimeField(null=True)),
                        (
                            "evaluation",
                            models.OneToOneField(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="job",
                                to="evaluation.evaluation",
                            ),
                        ),
                        (
                            "model_version",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="evaluation_jobs",
                                to="registry.modelversion",
                            ),
                        ),
                        (
                            "evaluation_set",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="jobs",
                                to="evaluation.evaluationset",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_evaluationjob",
                        "ordering": ["-id"],
                        "abstract": False,
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("state__in", ["waiting", "running"])),
                                fields=("evaluation_set", "model_version"),
                                name="registry_one_open_evaluation",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("state", "complete"), _negated=True),
                                    ("evaluation__isnull", False),
                                    _connector="OR",
                                ),
                                name="registry_complete_evaluation_has_figures",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(
                                    models.Q(("state__in", ["refused", "failed"]), _negated=True),
                                    models.Q(("reason", ""), _negated=True),
                                    _connector="OR",
                                ),
                                name="registry_ended_evaluation_has_a_reason",
                            ),
                        ],
                    },
                ),
            ],
        ),
    ]
