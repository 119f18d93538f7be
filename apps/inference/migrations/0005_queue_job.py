"""Queueing a study in one round trip. Built by the ORM, the expression for the turn cost more than storing the film."""

from typing import ClassVar

from django.db import migrations

# Start-time fair queueing: see apps.inference.fairness. The identifier in the order makes it that of the one index
# which begins with the tenant: the other one, read backwards, would pass by all jobs of a hospital that fills the queue.
CREATE_NEXT_TURN = """
create function inference_next_turn(wanted smallint) returns bigint language plpgsql stable as $$
begin
    return greatest(
        coalesce((
            select j.turn + 1 from inference_inferencejob j
             where j.tenant_id = current_setting('app.tenant')::uuid and j.state = 'queued' and j.priority = wanted
             order by j.turn desc, j.id limit 1
        ), 0),
        coalesce((select s.turn from inference_servedturn s where s.priority = wanted), 0)
    );
end
$$
"""

# Called by apps.inference.services.request_inference, which says what it does.
CREATE_QUEUE_JOB = """
create function inference_queue_job(new_job uuid, of_study uuid, wanted smallint, asked timestamptz)
returns void language plpgsql as $$
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
begin
    insert into inference_inferencejob
        (id, tenant_id, study_id, priority, turn, created, state, attempt, fence, positive_count,
         worker, reason_code, reason, top_label)
    values
        (new_job, mine, of_study, wanted, inference_next_turn(wanted), asked, 'queued', 0, 0, 0, '', '', '', '')
    on conflict do nothing;
    if not found then
        update inference_inferencejob j set priority = wanted, turn = inference_next_turn(wanted)
         where j.tenant_id = mine and j.study_id = of_study and j.state = 'queued' and j.priority < wanted;
    end if;
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0004_shadow_readings")]

    operations: ClassVar = [
        migrations.RunSQL(CREATE_NEXT_TURN, "drop function inference_next_turn(smallint)"),
        migrations.RunSQL(CREATE_QUEUE_JOB, "drop function inference_queue_job(uuid, uuid, smallint, timestamptz)"),
    ]
