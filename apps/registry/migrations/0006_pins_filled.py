"""Numbers for the lines that the ledger has, and the platform's pointer where the last of them put it."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    alias = editor.connection.alias
    lines = apps.get_model("registry", "Activation")._default_manager.using(alias).order_by("id")
    for number, line in enumerate(lines, start=1):
        line.number = number
        if getattr(line, "is_rollback", False):
            line.act = "rolled-back"
        line.save(update_fields=["number", "act"])
    last = lines.last()
    if last is not None:
        pointers = apps.get_model("registry", "Deployment")._default_manager.using(alias)
        pointers.create(model_version_id=last.to_version_id)


class Migration(migrations.Migration):
    dependencies = [("registry", "0005_pins")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
