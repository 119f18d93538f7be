"""The privileges of each role, read from PostgreSQL's catalogue.

The rule: the application may read and write every table, and no other role may do anything. What differs stands here,
so that a new grant is a line that is reviewed.
"""

from collections.abc import Mapping
from typing import Any

from apps.tenants.roles import APP, AUTH, DISPATCH, ERASE

READ_AND_WRITE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})

# Rows that the application writes once, and can neither change nor delete.
WRITTEN_ONCE = {
    "audit_auditevent": "who did what",
    "audit_securityevent": "refused sign-ins and keys",
    "critical_noticeevent": "who was notified of a critical finding, and who acknowledged",
    "deployment_changeplan": "plans that ledger entries cite",
    "deployment_driftreference": "what later weeks are compared with",
    "deployment_driftweek": "figures of a week, counted once",
    "deployment_recalibration": "what a change of probabilities rests on, and its preview",
    "django_admin_log": "what operators did in their console",
    "events_tenantevent": "what happened at a hospital",
    "registry_activation": "ledger of which version served whom",
    "registry_evaluation": "measurements",
    "registry_modelevent": "what happened to versions",
    "registry_switchpreview": "counts that the decision for a switch rests on",
    "reports_blindstep": "what readers concluded before the AI was shown",
    "reports_report": "signed versions",
    "routing_intakepolicy": "versions of the rules about arriving objects",
    "studies_studychange": "what people changed about a study, and why",
}

# What erasure and retention work on.
ERASED = {
    "audit_auditevent", "audit_securityevent", "django_admin_log", "quality_countedfinding", "quality_discordance",
    "reports_blindstep", "reports_report",
}  # fmt: skip

# Whole tables for the narrow roles.
NARROW = {("inference_servedturn", DISPATCH): {"SELECT", "INSERT", "UPDATE"}}

_CLAIM = {
    "attempt", "fence", "finished", "is_suspect", "lease_until", "reason", "reason_code", "run_after", "state",
    "waiting_since", "waits", "worker",
}  # fmt: skip
_CLAIM_BY_NAME = _CLAIM - {"attempt"} | {"attempts"}
# Single columns for the narrow roles: no patient, no finding, no secret.
COLUMNS: dict[tuple[str, str, str], set[str]] = {
    ("api_idempotentrequest", DISPATCH, "SELECT"): {"started", "tenant_id"},
    ("critical_criticalnotice", DISPATCH, "SELECT"): {"created", "due", "id", "state", "tenant_id"},
    ("critical_noticemail", DISPATCH, "SELECT"): (_CLAIM - {"attempt"})
    | {"attempts", "created", "id", "priority", "tenant_id"},
    ("critical_noticemail", DISPATCH, "UPDATE"): (_CLAIM - {"attempt"}) | {"attempts"},
    ("dimse_commitment", DISPATCH, "SELECT"): _CLAIM_BY_NAME | {"created", "id", "priority", "tenant_id"},
    ("dimse_commitment", DISPATCH, "UPDATE"): _CLAIM_BY_NAME,
    ("events_commitmentrequest", DISPATCH, "SELECT"): _CLAIM_BY_NAME
    | {"created", "destination_id", "id", "priority", "tenant_id"},
    ("events_commitmentrequest", DISPATCH, "UPDATE"): _CLAIM_BY_NAME,
    ("events_delivery", DISPATCH, "SELECT"): _CLAIM_BY_NAME
    | {"answer", "created", "destination_id", "id", "priority", "tenant_id"},
    ("events_delivery", DISPATCH, "UPDATE"): _CLAIM_BY_NAME | {"answer"},
    ("inference_inferencejob", DISPATCH, "SELECT"): _CLAIM
    | {"created", "id", "model_version_id", "priority", "study_id", "tenant_id", "turn"},
    ("inference_inferencejob", DISPATCH, "UPDATE"): _CLAIM | {"model_version_id"},
    ("inference_shadowreading", DISPATCH, "SELECT"): _CLAIM
    | {"challenger_id", "created", "id", "job_id", "priority", "tenant_id"},
    ("inference_shadowreading", DISPATCH, "UPDATE"): _CLAIM,
    ("results_resultjob", DISPATCH, "SELECT"): _CLAIM_BY_NAME | {"created", "id", "priority", "study_id", "tenant_id"},
    ("results_resultjob", DISPATCH, "UPDATE"): _CLAIM_BY_NAME,
    ("reading_worklistentry", DISPATCH, "SELECT"): {"job_id", "study_id", "tenant_id"},
    ("reading_worklistentry", DISPATCH, "UPDATE"): {"changed", "news_at", "status"},
    ("routing_destination", DISPATCH, "SELECT"): {"id", "is_enabled", "tenant_id"},
    ("routing_peer", AUTH, "SELECT"): {"ae_title", "certificate", "id", "is_send_only", "network", "tenant_id"},
    ("tenants_allowedorigin", AUTH, "SELECT"): {"origin", "tenant_id"},
    ("tenants_apiclient", AUTH, "SELECT"): {
        "created_by_id", "expires", "id", "key_hash", "last_used", "name", "revoked", "scopes", "tenant_id",
    },
    ("tenants_membership", AUTH, "SELECT"): {"id", "role", "tenant_id", "user_id"},
    ("tenants_tenant", AUTH, "SELECT"): {"ae_title", "id", "is_active", "name", "slug"},
}  # fmt: skip

_TABLE_GRANTS = """
select c.relname, case when a.grantee = 0 then 'everybody' else a.grantee::regrole::text end,
       array_agg(a.privilege_type::text)
from pg_class c left join lateral aclexplode(c.relacl) a on a.grantee <> c.relowner
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'f', 'v', 'm')
group by 1, 2
"""
_COLUMN_GRANTS = """
select c.relname, case when x.grantee = 0 then 'everybody' else x.grantee::regrole::text end, x.privilege_type,
       array_agg(a.attname::text)
from pg_class c join pg_attribute a on a.attrelid = c.oid cross join lateral aclexplode(a.attacl) x
where c.relnamespace = 'public'::regnamespace and x.grantee <> c.relowner
group by 1, 2, 3
"""


def grant_defects(cursor: Any) -> list[str]:
    """Every privilege that a role has and should not have, or should have and has not."""
    cursor.execute(_TABLE_GRANTS)
    found: dict[tuple[str, str], set[str]] = {}
    tables = set()
    for table, role, privileges in cursor.fetchall():
        tables.add(table)
        if role is not None:
            found[table, role] = set(privileges)
    defects = _differences(found, _expected(tables))
    cursor.execute(_COLUMN_GRANTS)
    columns = {(table, role, privilege): set(names) for table, role, privilege, names in cursor.fetchall()}
    return defects + _differences(columns, COLUMNS)


def _differences(found: Mapping[Any, set[str]], expected: Mapping[Any, set[str]]) -> list[str]:
    defects = []
    for key in sorted(set(found) | set(expected)):
        table, *holder = key
        has, should = found.get(key, set()), expected.get(key, set())
        for words, names in (("has and should not have", has - should), ("lacks", should - has)):
            if names:
                defects.append(f"{table}: {' '.join(holder)} {words} {', '.join(sorted(names))}")
    return defects


def _expected(tables: set[str]) -> dict[tuple[str, str], set[str]]:
    expected: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        expected[table, APP] = {"SELECT", "INSERT"} if table in WRITTEN_ONCE else set(READ_AND_WRITE)
    expected |= {(table, ERASE): {"SELECT", "UPDATE", "DELETE"} for table in ERASED}
    return expected | NARROW
