from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import AppendOnly


class Migration(migrations.Migration):
    dependencies: ClassVar = [("registry", "0003_training_and_evaluation")]

    operations: ClassVar = [
        AppendOnly("Evaluation"),
    ]
