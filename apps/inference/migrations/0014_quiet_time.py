"""Queueing a study that may wait for more images: a queued job that has a quiet time is not claimed before its end."""

from typing import ClassVar

from django.db import migrations

# As inference_queue_job of 0005, which the former release still calls. `quiet` is null where no image has arrived:
# then a study that waits goes on waiting. A waiting job has a `run_after`, no attempt, and no reason of an outage.
# A study of priority STAT (2) does not wait. Called by apps.inference.requests, which says what it does.
CREATE_QUEUE_READING = """
create function inference_queue_reading(
    new_job uuid, of_study uuid, wanted smallint, asked timestamptz, quiet interval, longest interval
)
returns void language plpgsql as $$
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
begin
    insert into inference_inferencejob
        (id, tenant_id, study_id, priority, turn, created, state, attempt, fence, positive_count,
         worker, reason_code, reason, top_label, run_after)
    values
        (new_job, mine, of_study, wanted, inference_next_turn(wanted), asked, 'queued', 0, 0, 0, '', '', '', '',
         case when quiet > interval '0' and wanted < 2 then asked + least(quiet, longest) end)
    on conflict do nothing;
    if not found then
        update inference_inferencejob j
           set priority = greatest(j.priority, wanted),
               turn = case when j.priority < wanted then inference_next_turn(wanted) else j.turn end,
               run_after = case
                   when j.run_after is null or j.attempt > 0 or j.reason_code <> '' then j.run_after
                   when wanted >= 2 then null
                   when quiet is null or j.priority >= 2 then j.run_after
                   else least(asked + quiet, j.created + longest)
               end
         where j.tenant_id = mine and j.study_id = of_study and j.state = 'queued'
           and (j.priority < wanted or quiet is not null and j.run_after is not null);
    end if;
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0013_recalibrated_jobs")]

    operations: ClassVar = [
        migrations.RunSQL(
            CREATE_QUEUE_READING,
            "drop function inference_queue_reading(uuid, uuid, smallint, timestamptz, interval, interval)",
        ),
    ]
