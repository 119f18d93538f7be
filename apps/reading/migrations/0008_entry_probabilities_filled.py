"""The probabilities of the studies that were read before their rows had them."""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import ChangeInBatches

FILL = """
update reading_worklistentry w set top_probability = j.top_probability, probabilities = array(
    select (f.by_label ->> l.label)::float8 from unnest('{Atelectasis,Cardiomegaly,Effusion,Infiltration,Mass,Nodule,Pneumonia,Pneumothorax,Consolidation,Edema,Emphysema,Fibrosis,Pleural_Thickening,Hernia}'::text[]) with ordinality l(label, place)
     order by l.place
)
  from inference_inferencejob j cross join lateral (
      select jsonb_object_agg(x.label, x.probability) as by_label from inference_finding x
       where x.tenant_id = j.tenant_id and x.job_id = j.id
  ) f
 where j.tenant_id = w.tenant_id and j.id = w.job_id and w.status = 'complete' and w.probabilities is null
   and f.by_label is not null and w.id = any(%(ids)s)
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("reading", "0007_entry_probabilities")]

    operations: ClassVar = [
        ChangeInBatches(
            ["inference_inferencejob", "inference_finding", "reading_worklistentry"],
            by="reading_worklistentry",
            statement=FILL,
        )
    ]
