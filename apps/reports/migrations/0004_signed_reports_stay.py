"""A signed report is written once: the application can neither change nor delete it, nor the study that it is about."""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import LetErase
from apps.tenants.roles import ERASE, OWNER

# The owner is let through, since migrations work as it and no process that serves does.
SIGNED_REPORTS_STAY = f"""
create function reports_signed_reports_stay() returns trigger language plpgsql as $$
begin
    if old.status <> 'preliminary' and current_user not in ('{ERASE}', '{OWNER}') then
        raise exception 'A signed report is neither changed nor deleted.' using errcode = 'insufficient_privilege';
    end if;
    return case when tg_op = 'DELETE' then old else new end;
end $$;
create trigger reports_signed_reports_stay before update or delete on reports_report
    for each row execute function reports_signed_reports_stay();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("reports", "0003_printed_demographics")]

    operations: ClassVar = [
        migrations.RunSQL(
            SIGNED_REPORTS_STAY,
            "drop trigger reports_signed_reports_stay on reports_report; drop function reports_signed_reports_stay()",
        ),
        LetErase("Report"),
    ]
