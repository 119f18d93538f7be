"""An operator cannot be a member, and a disabled account's sessions stay ended: what the database itself holds."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models import Q

# Whatever changes the row, this holds: the console, a shell, an old copy of the row that is saved again.
END_SESSIONS = """
create function accounts_user_end_sessions() returns trigger language plpgsql as $$
begin
    new.session_epoch := greatest(new.session_epoch, old.session_epoch);
    if old.is_active and not new.is_active then
        new.session_epoch := new.session_epoch + 1;
    end if;
    return new;
end $$;
create trigger accounts_user_end_sessions before update on accounts_user
    for each row execute function accounts_user_end_sessions();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("accounts", "0001_initial")]

    operations: ClassVar = [
        migrations.AddField(
            "User", "session_epoch", models.PositiveIntegerField(db_default=0, default=0, editable=False)
        ),
        migrations.RunSQL(
            END_SESSIONS,
            "drop trigger accounts_user_end_sessions on accounts_user; drop function accounts_user_end_sessions()",
        ),
        migrations.RunSQL(
            "update accounts_user set is_superuser = false where is_superuser and not is_staff", migrations.RunSQL.noop
        ),
        migrations.AddConstraint(
            "User", models.UniqueConstraint(fields=["id", "is_staff"], name="accounts_user_id_is_staff")
        ),
        migrations.AddConstraint(
            "User",
            models.CheckConstraint(
                condition=Q(is_superuser=False) | Q(is_staff=True), name="accounts_user_superuser_is_operator"
            ),
        ),
    ]
