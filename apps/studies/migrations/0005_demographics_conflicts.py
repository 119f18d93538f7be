"""Conflicts, changes and placeholders by tenant; storing an instance compares what it says of its patient."""

from typing import ClassVar

from django.db import migrations

from apps.tenants.rls import AppendOnly, IsolateTenant

# apps.studies.identity.differ is the same rule.
CREATE_DIFFER = """
create function studies_differ(one text[], other text[]) returns boolean language sql immutable as $$
    select coalesce(
        (one[1] <> '' and other[1] <> '' and one[1] <> other[1])
        or (one[2] <> '' and other[2] <> '' and one[2] <> other[2])
        or (one[3] <> '' and other[3] <> '' and one[3] <> other[3])
        or (one[4] <> '' and other[4] <> '' and one[4] <> other[4])
        or (one[5] <> '' and other[5] <> '' and one[5] <> other[5]),
        false
    )
$$
"""

# Each of the first four arguments holds a row by column, without the tenant and the keys of its parents. Called by
# apps.studies.services.store_instance, which says what it does.
CREATE_STORE_INSTANCE = """
create function studies_store_instance(
    new_patient jsonb, new_study jsonb, new_series jsonb, new_instance jsonb, placeholder text
)
returns table (outcome text, of_study uuid, needs_review boolean, in_conflict boolean, is_withdrawn boolean)
language plpgsql as $$
declare
    mine constant uuid := current_setting('app.tenant')::uuid;
    -- Whether the PatientID names a person.
    identified boolean := (new_patient->>'is_identified')::boolean;
    received_key constant text[] := array(select jsonb_array_elements_text(new_instance->'demographics_key'));
    study studies_study;
    patient studies_patient;
    of_patient uuid;
    of_series uuid;
    known_sha256 text;
begin
    needs_review := false;
    if identified and exists (
        select from studies_placeholderpatientid x where x.tenant_id = mine and x.key = placeholder
    ) then
        identified := false;
    end if;
    loop
        select * into study from studies_study s
         where s.tenant_id = mine and s.study_instance_uid = new_study->>'study_instance_uid' for no key update;
        of_study := study.id;
        of_patient := study.patient_id;

        select i.sha256, s.study_id into known_sha256, of_study
          from studies_instance i join studies_series s on s.tenant_id = mine and s.id = i.series_id
         where i.tenant_id = mine and i.sop_instance_uid = new_instance->>'sop_instance_uid';
        if found then
            outcome := case known_sha256 when new_instance->>'sha256' then 'known' else 'duplicate-with-other-content' end;
            exit;
        end if;
        outcome := 'new';

        if study.id is not null then
            of_study := study.id;
            select * into patient from studies_patient p where p.tenant_id = mine and p.id = study.patient_id;
            needs_review := studies_differ(study.demographics_key, received_key) or identified and (
                not patient.is_identified or patient.patient_id <> new_patient->>'patient_id'
                or patient.issuer_of_patient_id <> new_patient->>'issuer_of_patient_id'
            );
            exit;
        end if;

        of_patient := null;
        if identified then
            -- The lock lets studies of one patient in one by one: of two that arrive at once, the second sees the first.
            select * into patient from studies_patient p
             where p.tenant_id = mine and p.patient_id = new_patient->>'patient_id'
               and p.issuer_of_patient_id = new_patient->>'issuer_of_patient_id' and p.is_identified
             order by p.person_number limit 1 for no key update;
            of_patient := patient.id;
        end if;
        if of_patient is null then
            insert into studies_patient
            select * from jsonb_populate_record(
                null::studies_patient,
                new_patient || jsonb_build_object('tenant_id', mine, 'is_identified', identified)
            )
            on conflict do nothing
            returning id into of_patient;
            -- Another request was faster: its patient is there in the next round.
            continue when of_patient is null;
        else
            needs_review := exists (
                select from studies_patient p
                 where p.tenant_id = mine and p.patient_id = patient.patient_id
                   and p.issuer_of_patient_id = patient.issuer_of_patient_id and p.is_identified and p.id <> patient.id
            ) or exists (
                select from studies_study s
                 where s.tenant_id = mine and s.patient_id = of_patient and s.withdrawn is null
                   and studies_differ(s.demographics_key, received_key)
            );
        end if;
        -- Where another request was faster here, this fails, so that no patient stays behind without a study.
        insert into studies_study
        select * from jsonb_populate_record(
            null::studies_study, new_study || jsonb_build_object('tenant_id', mine, 'patient_id', of_patient)
        )
        returning * into study;
        of_study := study.id;
        exit;
    end loop;

    is_withdrawn := study.withdrawn is not null;
    in_conflict := exists (
        select from studies_demographicsconflict c where c.tenant_id = mine and c.study_id = of_study and c.settled is null
    ) or exists (
        select from studies_demographicsconflict c
         where c.tenant_id = mine and c.patient_id = of_patient and c.settled is null
    );
    if outcome = 'new' then
        select s.id into of_series from studies_series s
         where s.tenant_id = mine and s.study_id = study.id
           and s.series_instance_uid = new_series->>'series_instance_uid';
        if of_series is null then
            insert into studies_series
            select * from jsonb_populate_record(
                null::studies_series, new_series || jsonb_build_object('tenant_id', mine, 'study_id', study.id)
            )
            returning id into of_series;
        end if;
        insert into studies_instance
        select * from jsonb_populate_record(
            null::studies_instance, new_instance || jsonb_build_object('tenant_id', mine, 'series_id', of_series)
        );
    end if;
    return next;
end
$$
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("studies", "0004_demographics_per_study")]

    operations: ClassVar = [
        IsolateTenant("DemographicsConflict"),
        IsolateTenant("StudyChange"),
        AppendOnly("StudyChange"),
        IsolateTenant("PlaceholderPatientID"),
        migrations.RunSQL(CREATE_DIFFER, "drop function studies_differ(text[], text[])"),
        migrations.RunSQL("drop function studies_store_instance(jsonb, jsonb, jsonb, jsonb)", migrations.RunSQL.noop),
        migrations.RunSQL(
            CREATE_STORE_INSTANCE, "drop function studies_store_instance(jsonb, jsonb, jsonb, jsonb, text)"
        ),
    ]
