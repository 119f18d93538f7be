"""Shadow readings are claimed by priority and age, as all work is."""

from typing import ClassVar

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("inference", "0010_one_work_queue")]

    operations: ClassVar = [
        AddIndexConcurrently(
            "ShadowReading",
            models.Index(condition=Q(state="queued"), fields=["-priority", "id"], name="inference_shadow_in_order"),
        ),
    ]
