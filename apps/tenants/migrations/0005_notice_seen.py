from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("tenants", "0004_no_operator_is_a_member")]

    operations: ClassVar = [
        migrations.AddField(
            "membership",
            "notice_seen",
            models.PositiveBigIntegerField(
                db_default=0, default=0, help_text="Number of the last ledger entry whose notice the person dismissed."
            ),
        ),
    ]
