"""The callers of the table, and two hospitals that hold the same kind of study."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.routing.models import Peer
from apps.tenants.scope import tenant_tx
from apps.tenants.services import create_api_key
from tests.conftest import PASSWORD, Hospital

ROLES = (
    "anonymous", "technologist", "radiologist", "admin", "operator",
    "key store", "key read", "key predict", "other key", "other member",
)  # fmt: skip

# The rows' own keys in addresses.
KEYS = ("study", "peer", "member", "key", "invitation")


@dataclass(frozen=True)
class World:
    """``clients`` by role; ``names`` are what the addresses of the table name, here and in the other hospital."""

    clients: Mapping[str, Client]
    names: Mapping[str, str]
    nowhere: Mapping[str, str]


@pytest.fixture
def world(
    north: Hospital, south: Hospital, sign_in: Callable[..., Client], store_film: Any, read: Any, version: Any
) -> World:
    study = _read_study(north, store_film, read)
    _read_study(south, store_film, read, seed=2)
    names = {
        "study": str(study.pk),
        **_uids(north, study),
        "version": str(version.pk),
        "model": f"{version.name}/{version.number}",
        "tenant": str(north.tenant.pk),
        "slug": north.tenant.slug,
        "peer": str(_peer(north)),
        **_to_be_removed(north),
    }
    nowhere = {**names, **{name: str(uuid4()) for name in KEYS}, "uid": "2.25.404404"}
    return World(_clients(north, south, sign_in), names, nowhere)


def _read_study(hospital: Hospital, store_film: Any, read: Any, seed: int = 1) -> Any:
    stored = store_film(hospital, seed=seed, size=128, patient_name=f"CANARY^{hospital.tenant.slug.upper()}")
    read(stored.instance, Effusion=0.9)
    return stored.study


def _to_be_removed(hospital: Hospital) -> dict[str, str]:
    """A member, a key and an invitation that no other row of the table needs."""
    from apps.accounts.models import Invitation, User
    from apps.tenants.models import ApiClient, Membership, Role
    from apps.tenants.services import add_member

    leaver = User.objects.create_user("leaver@north.example", PASSWORD, full_name="Leaver")
    add_member(tenant=hospital.tenant, user_id=leaver.pk, role=Role.TECHNOLOGIST)
    with tenant_tx(hospital.tenant.id):
        create_api_key(name="old")
        invitation = Invitation.objects.create(
            email="new@north.example", role=Role.ADMIN, token_hash="0" * 64, expires=timezone.now() + timedelta(days=1)
        )
        return {
            "member": str(Membership.objects.get(user_id=leaver.pk).pk),
            "key": str(ApiClient.objects.get(name="old").pk),
            "invitation": str(invitation.pk),
        }


def _peer(hospital: Hospital) -> UUID:
    with tenant_tx(hospital.tenant.id):
        return Peer.objects.get().pk


def _uids(hospital: Hospital, study: Any) -> dict[str, str]:
    from apps.studies.models import Instance

    with tenant_tx(hospital.tenant.id):
        instance = Instance.objects.select_related("series__study").get(series__study=study)
        return {
            "uid": instance.series.study.study_instance_uid,
            "series": instance.series.series_instance_uid,
            "instance": instance.sop_instance_uid,
        }


def _clients(north: Hospital, south: Hospital, sign_in: Callable[..., Client]) -> dict[str, Client]:
    from apps.accounts.models import User

    operator = Client()
    operator.force_login(User.objects.create_user("operator@platform.example", PASSWORD, is_staff=True))
    clients = {
        "anonymous": Client(),
        "technologist": sign_in(north, north.technologist),
        "radiologist": sign_in(north, north.radiologist),
        "admin": sign_in(north, north.admin),
        "operator": operator,
        "other key": Client(headers=south.bearer),
        "other member": sign_in(south, south.radiologist),
        "other admin": sign_in(south, south.admin),
    }
    for name, scope in (("store", "dicomweb.store"), ("read", "studies.read"), ("predict", "predict")):
        with tenant_tx(north.tenant.id):
            _, key = create_api_key(name=name, scopes=[scope])
        clients[f"key {name}"] = Client(headers={"authorization": f"Bearer {key}"})
    return clients
