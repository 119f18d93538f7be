"""A rollback of old took back the line before it in its scope, and did not say so."""

from typing import Any, ClassVar

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_ASIDE = ("retired", "shadow", "canary", "challenge-ended")


def fill(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    lines: Any = apps.get_model("registry", "Activation")._default_manager.using(editor.connection.alias)
    before: dict[Any, Any] = {}
    for line in lines.exclude(act__in=_ASIDE).order_by("number").only("id", "act", "for_tenant_id", "undoes_id"):
        if line.act == "rolled-back" and line.undoes_id is None and line.for_tenant_id in before:
            lines.filter(pk=line.pk).update(undoes_id=before[line.for_tenant_id])
        before[line.for_tenant_id] = line.pk


class Migration(migrations.Migration):
    dependencies: ClassVar = [("registry", "0017_previews_of_every_tenant")]

    operations: ClassVar = [migrations.RunPython(fill, migrations.RunPython.noop)]
