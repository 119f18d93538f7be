from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import IsolateTenant, LetErase


class Migration(migrations.Migration):
    dependencies: ClassVar = [("quality", "0001_initial")]

    operations: ClassVar = [
        IsolateTenant("CountedFinding"),
        IsolateTenant("Discordance"),
        # They refer to signed reports, which erasure deletes.
        LetErase("CountedFinding"),
        LetErase("Discordance"),
    ]
