"""Completing tells whether there is a challenger: where there is none, nothing more has to be asked."""

from importlib import import_module
from typing import ClassVar

from django.db import migrations

_BEFORE = import_module("apps.inference.migrations.0006_complete_jobs").CREATE_COMPLETE_JOBS
DROP_COMPLETE_JOBS = "drop function inference_complete_jobs(json, json, bytea[])"
CREATE_COMPLETE_JOBS = """
create function inference_complete_jobs(results json, findings json, grids bytea[])
returns table (
    id uuid, study_id uuid, model_version_id uuid, priority smallint, has_unseen boolean, is_challenged boolean
)
language plpgsql as $$
#variable_conflict use_column
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
    held uuid[];
begin
    select array_agg(locked.id) into held from (
        select j.id
          from json_to_recordset(results) r(job uuid, fence bigint)
          join inference_inferencejob j on j.tenant_id = mine and j.id = r.job and j.fence = r.fence
          join studies_study s on s.tenant_id = mine and s.id = j.study_id
         where j.state = 'running'
         order by s.study_instance_uid
           for no key update of j, s
    ) locked;

    insert into inference_finding (id, tenant_id, job_id, label, probability, threshold, positive)
    select f.id, mine, f.job, f.label, f.probability, f.threshold, f.positive
      from json_to_recordset(findings)
               f(id uuid, job uuid, label text, probability float8, threshold float8, positive boolean)
     where f.job = any(held);

    insert into inference_heatmapgrids (id, tenant_id, job_id, data, grid_rows, grid_columns)
    select r.heatmaps, mine, r.job, grids[r.place], r.grid_rows, r.grid_columns
      from json_to_recordset(results)
               r(job uuid, heatmaps uuid, place integer, grid_rows smallint, grid_columns smallint)
     where r.job = any(held);

    update inference_inferencejob j
       set state = 'complete', lease_until = null, finished = now(), instance_id = r.instance,
           top_label = r.top_label, top_probability = r.top_probability, positive_count = r.positive_count
      from json_to_recordset(results)
               r(job uuid, instance uuid, top_label text, top_probability float8, positive_count smallint)
     where j.tenant_id = mine and j.id = r.job and r.job = any(held);

    return query
    select j.id, j.study_id, j.model_version_id, j.priority, r.instances_seen <> (
               select count(*) from studies_series s join studies_instance i on i.tenant_id = mine and i.series_id = s.id
                where s.tenant_id = mine and s.study_id = j.study_id
           ), exists (select from registry_challenger c where c.ended is null)
      from json_to_recordset(results) r(job uuid, instances_seen integer)
      join inference_inferencejob j on j.tenant_id = mine and j.id = r.job
     where r.job = any(held);
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("inference", "0006_complete_jobs")]

    operations: ClassVar = [
        migrations.RunSQL([DROP_COMPLETE_JOBS, CREATE_COMPLETE_JOBS], [DROP_COMPLETE_JOBS, _BEFORE]),
    ]
