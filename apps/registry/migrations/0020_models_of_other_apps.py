"""Models that belong to other apps now leave this one. Their tables and rows stay; their content types follow."""

from typing import Any, ClassVar

from django.db import migrations

# In an order in which no model that is left refers to one that is gone.
MOVED = {
    "webhookdelivery": "events",
    "modelevent": "events",
    "webhookendpoint": "events",
    "activationrequest": "deployment",
    "previewjob": "deployment",
    "challenger": "deployment",
    "deployment": "deployment",
    "offer": "deployment",
    "operatingpoint": "deployment",
    "evaluationjob": "evaluation",
    "evaluation": "evaluation",
    "evaluationset": "evaluation",
    "trainingepoch": "training",
    "trainingrun": "training",
    "switchpreview": "deployment",
    "activation": "deployment",
}


def rename_content_types(apps: Any, schema_editor: Any) -> None:
    content_types = apps.get_model("contenttypes", "ContentType").objects.using(schema_editor.connection.alias)
    for model, app_label in MOVED.items():
        content_types.filter(app_label="registry", model=model).update(app_label=app_label)


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("registry", "0019_requests_that_replace"),
        ("events", "0001_initial"),
        ("evaluation", "0001_initial"),
        ("training", "0001_initial"),
        ("deployment", "0001_initial"),
        ("inference", "0009_challenger_of_deployment"),
    ]

    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.DeleteModel("WebhookDelivery"),
                migrations.DeleteModel("ModelEvent"),
                migrations.DeleteModel("WebhookEndpoint"),
                migrations.DeleteModel("ActivationRequest"),
                migrations.DeleteModel("PreviewJob"),
                migrations.DeleteModel("Challenger"),
                migrations.DeleteModel("Deployment"),
                migrations.DeleteModel("Offer"),
                migrations.DeleteModel("OperatingPoint"),
                migrations.DeleteModel("EvaluationJob"),
                migrations.DeleteModel("Evaluation"),
                migrations.DeleteModel("EvaluationSet"),
                migrations.DeleteModel("TrainingEpoch"),
                migrations.DeleteModel("TrainingRun"),
                migrations.DeleteModel("SwitchPreview"),
                migrations.DeleteModel("Activation"),
            ],
        ),
        migrations.RunPython(rename_content_types, migrations.RunPython.noop),
    ]
