"""The rules of tenant isolation, checked in PostgreSQL's catalogue and not in the migrations.

A table of no tenant must stand in ``PLATFORM_TABLES`` with the reason; every other table must carry ``tenant_id``.
"""

from typing import Any

from apps.tenants.rls import TENANT_MATCHES
from apps.tenants.roles import APP, DISPATCH, ERASE, ROLES
from tests.tenants.grants import grant_defects

PLATFORM_TABLES = {
    "accounts_user": "people are known across hospitals; what they may do is in tenants_membership",
    "audit_securityevent": "refused sign-ins: before any tenant is known",
    "accounts_user_groups": "Django's groups; unused, and of the platform",
    "accounts_user_user_permissions": "Django's permissions; unused, and of the platform",
    "auth_group": "Django's",
    "auth_group_permissions": "Django's",
    "auth_permission": "Django's",
    "deployment_appliedrecalibration": "as operating points: read with the version in service",
    "deployment_changeplan": "the platform's plan of changes; text of its operator",
    "deployment_driftreference": "distributions of probabilities; no study in it",
    "deployment_driftweek": "counts and means of a week; no study in it",
    "deployment_recalibration": "slopes, offsets and counts; no study in it",
    "django_admin_log": "what operators did in their console; they see no tenant's data",
    "django_content_type": "Django's",
    "django_migrations": "Django's",
    "django_session": "opaque sessions by random key; the tenant inside is checked against the membership",
    "deployment_aistop": "where the AI is stopped: read by workers and the operator's console for any tenant",
    "inference_servedturn": "how far the queue is, one number for each priority",
    "inference_worker": "machines of the platform",
    "registry_activation": "ledger of which version served whom",
    "registry_activationrequest": "moves that wait for a second operator",
    "registry_challenger": "which version is on trial for whom: read before any tenant is in force",
    "registry_deployment": "which version serves whom: read before any tenant is in force",
    "registry_evaluationjob": "measurements that wait for a worker",
    "registry_evaluationset": "where the operator keeps films that are no hospital's, and how many they are",
    "registry_evaluation": "measurements of the platform's versions on public or the operator's own film lists",
    "registry_modelversion": "artifacts of the platform",
    "registry_modelevent": "what happened to versions, as other systems are notified",
    "registry_offer": "which version a tenant may name: an operator's decision",
    "registry_operatingpoint": "thresholds change with the version in service, for all tenants in one transaction",
    "registry_previewjob": "previews that wait for a worker; no study in them",
    "registry_switchpreview": "counts that operators judge a switch by; no study in it",
    "registry_trainingepoch": "curves of the platform's trainings; no film and no patient",
    "registry_trainingrun": "the platform's trainings",
    "registry_webhookdelivery": "messages of the platform on their way",
    "registry_webhookendpoint": "addresses that operators entered; no secret is stored",
    "tenants_tenant": "the tenants themselves: name, slug, AE title",
}

# Rows of the platform that name a tenant (never in a column `tenant_id`, which promises isolation), and why they may.
ABOUT_TENANTS = {
    "deployment_aistop": "as the operating points; no study in it",
    "deployment_appliedrecalibration": "as operating points",
    "deployment_driftreference": "as the weeks that are compared with it",
    "deployment_driftweek": "a hospital's figures, which operators watch",
    "deployment_recalibration": "as the ledger, which names it",
    "registry_activation": "who was served by what, when; no word of what was read",
    "registry_activationrequest": "as the ledger",
    "registry_challenger": "as the pointers",
    "registry_deployment": "a worker claims jobs of all tenants, each with the version that serves it",
    "registry_modelevent": "as the ledger, whose entry it reports",
    "registry_offer": "as the pointers; read with them",
    "registry_operatingpoint": "numbers that an activation for the platform must read and write",
    "registry_previewjob": "which operator asked for which tenant's preview, and how far it is",
    "registry_switchpreview": "how many results a switch would change, per finding",
    "registry_webhookendpoint": "whose events an address gets",
}

# What the dispatcher's role sees of all tenants, without patient and result.
QUEUES = (
    "api_idempotentrequest", "critical_criticalnotice", "critical_noticemail", "dimse_commitment",
    "events_commitmentrequest", "events_delivery",
    "inference_inferencejob", "inference_shadowreading", "results_resultjob", "reading_worklistentry",
    "routing_destination",
)  # fmt: skip

_TABLES = """
select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, r.rolname,
       exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'
               and not a.attisdropped and a.attnotnull)
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and c.relkind in ('r', 'p', 'f')
"""
_POLICIES = """
select polname, polpermissive, polcmd, array(select rolname::text from pg_roles where oid = any(polroles)),
       pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
from pg_policy where polrelid = %s
"""
# The primary key is a random UUID: no other tenant can have the same one, so it reveals no row.
_UNIQUE_WITHOUT_TENANT = """
select i.indexrelid::regclass::text from pg_index i
where i.indrelid = %s and i.indisunique and not i.indisprimary
  and (select attname from pg_attribute where attrelid = i.indrelid and attnum = i.indkey[0])
      is distinct from 'tenant_id'
"""
_LEADING_INDEX = """
select exists (select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
               where i.indrelid = %s and a.attname = 'tenant_id')
"""
_FOREIGN_KEYS = """
select c.conname, c.confrelid::regclass::text,
       array(select a.attname::text from unnest(c.conkey) with ordinality k(num, pos)
             join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num order by k.pos),
       array(select a.attname::text from unnest(c.confkey) with ordinality k(num, pos)
             join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.num order by k.pos)
from pg_constraint c where c.contype = 'f' and c.conrelid = %s
"""
_VIEWS = """
select c.relname, c.relkind = 'm', coalesce(array_to_string(c.reloptions, ','), '')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and c.relkind in ('v', 'm')
"""
_DEFINER_FUNCTIONS = """
select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')
"""
_ROLES = "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb from pg_roles where rolname = any(%s)"
_MEMBERSHIPS = """
select m.rolname, g.rolname from pg_auth_members a join pg_roles m on m.oid = a.member
join pg_roles g on g.oid = a.roleid where m.rolname = any(%s)
"""


def defects(cursor: Any) -> list[str]:
    """Every rule that the database in front of the cursor breaks, in words."""
    found = [defect for table in _all(cursor, _TABLES) for defect in _table_defects(cursor, *table)]
    for name, materialised, options in _all(cursor, _VIEWS):
        if materialised:
            found.append(f"{name}: a materialised view holds all tenants' rows")
        elif "security_invoker=true" not in options:
            found.append(f"{name}: a view must be security_invoker")
    found += [f"{name}(): no SECURITY DEFINER function is signed off" for (name,) in _all(cursor, _DEFINER_FUNCTIONS)]
    for name, *powers in _all(cursor, _ROLES, [list(ROLES)]):
        if any(powers):
            found.append(f"{name}: the role is too powerful")
    found += [f"{member} is a member of {group}" for member, group in _all(cursor, _MEMBERSHIPS, [list(ROLES)])]
    return found + grant_defects(cursor)


def _all(cursor: Any, query: str, parameters: list[Any] | None = None) -> list[Any]:
    cursor.execute(query, parameters)
    return cursor.fetchall()


def _table_defects(
    cursor: Any, oid: int, name: str, secured: bool, forced: bool, owner: str, has_tenant: bool
) -> list[str]:
    found = [] if owner == "chx_owner" else [f"{name}: owned by {owner}"]
    if name in PLATFORM_TABLES:
        return found + _platform_defects(cursor, oid, name, has_tenant)
    if not has_tenant:
        return [*found, f"{name}: has no tenant_id that is not null, and no reason in PLATFORM_TABLES"]
    if not (secured and forced):
        found.append(f"{name}: row-level security is not enabled and forced")
    if not _all(cursor, _LEADING_INDEX, [oid])[0][0]:
        found.append(f"{name}: no index leads with tenant_id")
    found += [f"{name}: {index} is unique across tenants" for (index,) in _all(cursor, _UNIQUE_WITHOUT_TENANT, [oid])]
    return found + _policy_defects(cursor, oid, name) + _foreign_key_defects(cursor, oid, name)


def _platform_defects(cursor: Any, oid: int, name: str, has_tenant: bool) -> list[str]:
    if has_tenant:
        return [f"{name}: signed off as the platform's, yet has tenant_id"]
    names_tenants = any(target == "tenants_tenant" for _, target, _, _ in _all(cursor, _FOREIGN_KEYS, [oid]))
    if names_tenants and name not in ABOUT_TENANTS:
        return [f"{name}: a row of the platform that names a tenant, and no reason in ABOUT_TENANTS"]
    return []


def _policy_defects(cursor: Any, oid: int, name: str) -> list[str]:
    found = []
    for_app = []
    expected = _plain(TENANT_MATCHES)
    for policy, permissive, command, roles, using, check in _all(cursor, _POLICIES, [oid]):
        if roles == [APP]:
            for_app.append((permissive, command, _plain(using), _plain(check)))
        elif roles == [ERASE] and policy == "tenant_erasure":
            if (command, _plain(using), _plain(check)) != ("*", expected, expected):
                found.append(f"{name}: {ERASE} needs the tenant's plain equality")
        elif len(roles) != 1 or roles[0] not in ROLES or policy != f"{roles[0]}_across":
            found.append(f"{name}: the policy {policy} for {', '.join(roles) or 'everybody'} is not signed off")
        elif roles[0] == DISPATCH and name not in QUEUES:
            found.append(f"{name}: {DISPATCH} sees more than the queue")
    if for_app != [(True, "*", expected, expected)]:
        found.append(f"{name}: {APP} needs exactly one policy, of plain equality in USING and WITH CHECK")
    return found


def _plain(expression: str | None) -> str:
    """An expression without what PostgreSQL adds when it prints one."""
    text = (expression or "").lower()
    for noise in ("::text", '"', "(", ")", " "):
        text = text.replace(noise, "")
    return text.replace("asnullif", "").replace("asuuid", "")


def _foreign_key_defects(cursor: Any, oid: int, name: str) -> list[str]:
    found = []
    for key, target, columns, referenced in _all(cursor, _FOREIGN_KEYS, [oid]):
        if target in PLATFORM_TABLES:
            continue
        if columns[:1] != ["tenant_id"] or referenced[:1] != ["tenant_id"]:
            found.append(f"{name}: {key} can reference another tenant's {target}")
    return found
