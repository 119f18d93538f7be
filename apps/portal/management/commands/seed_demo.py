"""Seed the demo: two tenants with users and API keys, the starter model in service, sample studies. Repeatable."""

import io
import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from apps.accounts.models import User
from apps.audit.services import Actor
from apps.core.errors import ChecxrayError
from apps.critical.models import CriticalRule
from apps.critical.rules import RuleValues, add_rule
from apps.deployment.models import Deployment
from apps.deployment.services import activate
from apps.ingest.intake import ingest_instance, inspect_file
from apps.ingest.secondary_capture import wrap_picture
from apps.registry import engine
from apps.registry.services import register
from apps.routing.selectors import peers
from apps.routing.services import PeerFields, add_peer_as_operator
from apps.studies.spool import open_spool
from apps.tenants.models import ApiClient, Membership, Role, Tenant, all_scopes
from apps.tenants.scope import tenant_tx
from apps.tenants.services import add_member, create_api_key, find_api_client, tenant_of_key

STARTER = settings.BASE_DIR / "models" / "starter"
HOSPITALS = {"north": "North Coast Hospital", "south": "South Valley Clinic"}
SEED = Actor(name="seed_demo")
# Calling AE titles that may send from this machine: the demo's own, and the defaults of DCMTK and Orthanc.
PEERS = ("DEMO", "STORESCU", "ECHOSCU", "ORTHANC")
PEER_ADDRESS = "127.0.0.1"
CRITICAL_FINDING = "Pneumothorax"
FILM_COUNT = 12
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}


class Command(BaseCommand):
    help = "Seed the demo's hospitals, people, model and films, and write demo.json."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--films", help="a folder of films to take instead of the synthetic ones")
        parser.add_argument("--empty", action="store_true", help="no sample studies")

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.CHECXRAY_HOME / "demo.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        demo = {
            "base_url": f"http://127.0.0.1:{os.environ.get('PORT') or 8000}",
            "dimse": {"host": "127.0.0.1", "port": settings.DIMSE_PORT, "calling_ae": PEERS[0]},
            "operator": _operator(known.get("operator", {})),
            "tenants": [_hospital(slug, name, _of_slug(known, slug)) for slug, name in HOSPITALS.items()],
        }
        _write_private(path, json.dumps(demo, indent=2))
        self._put_starter_into_service()
        # Drawing the images takes seconds; a set that was ingested completely once is not drawn again.
        marker = settings.CHECXRAY_HOME / "seeded"
        wanted = options["films"] or "synthetic"
        if not options["empty"] and (not marker.exists() or marker.read_text() != wanted):
            _seed_films(Path(options["films"]) if options["films"] else None)
            marker.write_text(wanted)

    def _put_starter_into_service(self) -> None:
        if Deployment.objects.exists():
            return
        try:
            activate(version=register(artifact_dir=STARTER), by=SEED, reason="The demo's first version")
        except ChecxrayError as error:
            raise CommandError(f"The starter model in {STARTER} cannot be used: {error.detail}") from error


def _of_slug(known: dict[str, Any], slug: str) -> dict[str, Any]:
    return next((each for each in known.get("tenants", []) if each["slug"] == slug), {})


def _write_private(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(0o600)
    draft.write_text(text)
    draft.replace(path)


def _operator(known: dict[str, str]) -> dict[str, str]:
    return _person("operator@checxray.example", "Platform operator", known, is_staff=True, is_superuser=True)


def _person(email: str, full_name: str, known: dict[str, str], **flags: bool) -> dict[str, str]:
    """The user, with the password of demo.json; an existing user's password is not changed."""
    if User.objects.filter(email=email).exists() and known.get("email") == email:
        return {"email": email, "password": known["password"]}
    password = secrets.token_urlsafe(12)
    user, _ = User.objects.get_or_create(email=email, defaults={"full_name": full_name, **flags})
    user.set_password(password)
    user.save()
    return {"email": email, "password": password}


def _hospital(slug: str, name: str, known: dict[str, Any]) -> dict[str, Any]:
    tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": name, "ae_title": slug.upper()})
    people = []
    for role, title in ((Role.RADIOLOGIST, "Dr."), (Role.TECHNOLOGIST, "RT"), (Role.ADMIN, "Admin")):
        email = f"{role.value}@{slug}.example"
        remembered: dict[str, str] = next((each for each in known.get("users", []) if each["email"] == email), {})
        person = _person(email, f"{title} {slug.title()}", remembered)
        add_member(tenant=tenant, user_id=User.objects.get(email=email).pk, role=role.value)
        people.append({**person, "role": role.value})
    _list_peers(tenant)
    _add_critical_rule(tenant)
    return {
        "slug": slug,
        "name": tenant.name,
        "ae_title": tenant.ae_title,
        "api_key": _api_key(tenant, known.get("api_key", "")),
        "users": people,
    }


def _list_peers(tenant: Tenant) -> None:
    """List the demo's peers where the tenant has none; changed peers stay as they are."""
    with tenant_tx(tenant.id):
        if not peers():
            for ae_title in PEERS:
                fields = PeerFields(ae_title=ae_title, network=PEER_ADDRESS, description="Listed by the demo")
                add_peer_as_operator(fields=fields, by=SEED)


def _add_critical_rule(tenant: Tenant) -> None:
    """Make a pneumothorax critical where the tenant has no rule: radiologist first, administrator at the escalation."""
    with tenant_tx(tenant.id):
        if CriticalRule.objects.exists():
            return
        reader, admin = (
            Membership.objects.get(user__email=f"{role.value}@{tenant.slug}.example")
            for role in (Role.RADIOLOGIST, Role.ADMIN)
        )
        values = RuleValues(people=[reader.pk], escalate_to=[admin.pk])
        add_rule(label=CRITICAL_FINDING, values=values, membership=admin, by=SEED)


def _api_key(tenant: Tenant, known: str) -> str:
    claimed = tenant_of_key(known)
    client = find_api_client(tenant_id=tenant.id, secret=claimed[1]) if claimed and claimed[0] == tenant.id else None
    # The key of an earlier release may lack a scope.
    if client is not None and set(all_scopes()) <= set(client.scopes):
        return known
    with tenant_tx(tenant.id):
        _, text = create_api_key(name=f"demo-{ApiClient.objects.count() + 1}")
        return text


def _seed_films(folder: Path | None) -> None:
    tenants = {slug: Tenant.objects.get(slug=slug) for slug in HOSPITALS}
    if folder is None:
        for film in tqdm(engine.demo_set(FILM_COUNT), desc="  films", unit="film"):
            buffer = io.BytesIO()
            film.write(buffer)
            _ingest(tenants[film.tenant], buffer.getvalue(), film.patient_id)
        return
    if not folder.is_dir():
        raise CommandError(f"FILMS={folder} is not a folder.")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in tqdm(files, desc="  films", unit="film"):
        _ingest(tenants["north"], path.read_bytes(), path.name, is_picture=path.suffix.lower() in PICTURE_SUFFIXES)


def _ingest(tenant: Tenant, data: bytes, name: str, *, is_picture: bool = False) -> None:
    with open_spool() as spool:
        try:
            spooled = spool.write(data)
            if is_picture:
                spooled = wrap_picture(spooled=spooled, spool=spool, tenant=tenant)
            inspected = inspect_file(spooled)
            ingest_instance(inspected, tenant_id=tenant.id, by=SEED, source="demo")
        except ChecxrayError as error:
            tqdm.write(f"  {name} was left out: {error.detail}")
