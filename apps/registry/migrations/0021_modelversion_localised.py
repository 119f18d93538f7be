"""Which findings of a version have maps that were measured to show where the finding is."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("registry", "0020_models_of_other_apps")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="modelversion",
            name="localised",
            field=models.JSONField(
                db_default=models.Value([], output_field=models.JSONField()),
                default=list,
                editable=False,
                help_text="The findings whose maps were measured to show where the finding is.",
            ),
        )
    ]
