"""The models that this app took over from registry. Their tables stay as they are, so only the state changes."""

import django.db.models.deletion
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
                    name="TrainingRun",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("name", models.SlugField(max_length=100)),
                        ("architecture", models.CharField(max_length=100)),
                        (
                            "state",
                            models.CharField(
                                choices=[
                                    ("waiting", "Preparing"),
                                    ("running", "Running"),
                                    ("complete", "Complete"),
                                    ("failed", "Failed"),
                                    ("stopped", "Stopped"),
                                ],
                                default="waiting",
                                max_length=10,
                            ),
                        ),
                        ("settings", models.JSONField()),
                        ("settings_sha256", models.CharField(max_length=64)),
                        ("folder", models.CharField(max_length=1000)),
                        ("nodes", models.CharField(max_length=20)),
                        ("world_size", models.PositiveIntegerField(null=True)),
                        ("backend", models.CharField(blank=True, max_length=20)),
                        ("device", models.CharField(blank=True, max_length=20)),
                        ("steps_per_epoch", models.PositiveIntegerField(null=True)),
                        ("global_batch", models.PositiveIntegerField(null=True)),
                        ("train_films", models.PositiveIntegerField(null=True)),
                        ("validation_films", models.PositiveIntegerField(null=True)),
                        ("restarts", models.PositiveIntegerField(default=0)),
                        ("forecast", models.JSONField(null=True)),
                        ("epochs", models.PositiveIntegerField()),
                        (
                            "epoch",
                            models.PositiveIntegerField(
                                default=0, help_text="The last one that ended or, with a step, the one at work."
                            ),
                        ),
                        ("step", models.PositiveIntegerField(default=0)),
                        ("loss", models.FloatField(null=True)),
                        ("validation_auroc", models.FloatField(null=True)),
                        ("lr", models.FloatField(null=True)),
                        ("images_per_s", models.FloatField(null=True)),
                        ("data_wait", models.FloatField(null=True)),
                        ("selected_epoch", models.PositiveIntegerField(null=True)),
                        ("created", models.DateTimeField(auto_now_add=True)),
                        ("started", models.DateTimeField(null=True)),
                        ("heartbeat", models.DateTimeField()),
                        ("finished", models.DateTimeField(null=True)),
                        ("reason", models.TextField(blank=True)),
                        ("actor", models.CharField(max_length=100)),
                        (
                            "model_version",
                            models.ForeignKey(
                                null=True,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="training_runs",
                                to="registry.modelversion",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_trainingrun",
                        "ordering": ["-id"],
                    },
                ),
                migrations.CreateModel(
                    name="TrainingEpoch",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=apps.core.identifiers.uuid7, editable=False, primary_key=True, serialize=False
                            ),
                        ),
                        ("epoch", models.PositiveIntegerField()),
                        ("loss", models.FloatField(null=True)),
                        ("validation_auroc", models.FloatField(null=True)),
                        ("lr", models.FloatField(null=True)),
                        ("images_per_s", models.FloatField(null=True)),
                        ("seconds", models.FloatField(null=True)),
                        ("data_wait", models.FloatField(null=True)),
                        ("ranks", models.JSONField(default=list)),
                        (
                            "run",
                            models.ForeignKey(
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="epoch_rows",
                                to="training.trainingrun",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "registry_trainingepoch",
                        "ordering": ["run", "epoch"],
                    },
                ),
                migrations.AddIndex(
                    model_name="trainingrun",
                    index=models.Index(fields=["settings_sha256", "-id"], name="registry_run_of_settings"),
                ),
                migrations.AddConstraint(
                    model_name="trainingrun",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "failed"), _negated=True),
                            models.Q(("reason", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="registry_failed_training_has_a_reason",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="trainingrun",
                    constraint=models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "complete"), _negated=True),
                            ("model_version__isnull", False),
                            _connector="OR",
                        ),
                        name="registry_complete_training_has_a_version",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="trainingepoch",
                    constraint=models.UniqueConstraint(fields=("run", "epoch"), name="registry_one_row_per_epoch"),
                ),
            ],
        ),
    ]
