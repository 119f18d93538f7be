from typing import Any, ClassVar

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    alias = editor.connection.alias
    previews = apps.get_model("registry", "SwitchPreview")._default_manager.using(alias)
    lines: Any = apps.get_model("registry", "Activation")._default_manager.using(alias)
    for line in lines.exclude(preview_sha256=""):
        preview = previews.filter(sha256=line.preview_sha256).first()
        tenant_id = line.for_tenant_id or (preview and preview.for_tenant_id)
        if tenant_id:
            lines.filter(pk=line.pk).update(previews={str(tenant_id): line.preview_sha256})


class Migration(migrations.Migration):
    dependencies: ClassVar = [("registry", "0016_what_a_rollback_takes_back")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="activation",
            name="previews",
            field=models.JSONField(default=dict, help_text="{tenant id: SHA-256} of those that fitted the move."),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RemoveField(model_name="activation", name="preview_sha256"),
    ]
