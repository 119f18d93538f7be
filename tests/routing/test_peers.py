"""Validation of peers' fields, and the match of a caller with a peer."""

from datetime import timedelta
from io import StringIO
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor, record
from apps.core.errors import ConflictError, InvalidInputError, NotPermittedError
from apps.routing.models import Peer, Refusal
from apps.routing.peer_fields import clean_ae_title, clean_certificate, clean_network, plain_address, same_subject
from apps.routing.selectors import Caller, admit_caller
from apps.routing.services import (
    REFUSALS_KEPT,
    PeerFields,
    add_peer,
    add_peer_as_operator,
    change_peer,
    note_refusal,
    remove_peer,
)
from apps.tenants.models import Membership
from apps.tenants.scope import tenant_tx
from tests.conftest import PEER, Hospital

TEST = Actor(name="test")
FINGERPRINT = "ab" * 32


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        (" 10.1.2.0/24 ", "10.1.2.0/24"),
        ("10.1.2.0/255.255.255.0", "10.1.2.0/24"),
        ("2001:db8::7", "2001:db8::7/128"),
        ("2001:DB8:0::/48", "2001:db8::/48"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.2.0/120", "10.1.2.0/24"),
    ],
)
def test_networks(written: str, kept: str) -> None:
    assert clean_network(written) == kept


@pytest.mark.parametrize(
    "written", ["", "host", "10.1.2", "10.1.2.3/33", "10.1.2.3/8", "0.0.0.0/0", "::/0", "0.0.0.0/32", "224.0.0.1", "::"]
)
def test_what_is_no_network_of_a_peer(written: str) -> None:
    with pytest.raises(ValidationError):
        clean_network(written)


@pytest.mark.parametrize("written", ["A", " CT 1 ", "ABCDEFGHIJKLMNOP", "orthanc", "A'B\"C[D]~"])
def test_ae_titles(written: str) -> None:
    assert clean_ae_title(written) == written.strip()


@pytest.mark.parametrize("written", ["", "   ", "ABCDEFGHIJKLMNOPQ", "A\\B", "A\nB", "ÄRZTE", "A\x7fB"])
def test_what_is_no_ae_title(written: str) -> None:
    with pytest.raises(ValidationError):
        clean_ae_title(written)


def test_certificates() -> None:
    assert clean_certificate(":".join(["AB"] * 32)) == FINGERPRINT
    assert clean_certificate(" CN = ct1.example , o=Clinic\\, North ") == "CN=ct1.example,O=Clinic\\, North"
    for wrong in ("ab" * 20, "ct1.example", "CN=", "=x", "CN=a,,O=b"):
        with pytest.raises(ValidationError):
            clean_certificate(wrong)
    assert same_subject("O=Clinic\\, North,CN=ct1", "CN=ct1,O=Clinic\\, North")
    assert not same_subject("CN=ct1,O=Other", "CN=ct1")
    assert not same_subject("O=x\\,CN=admin", "CN=admin,O=x")
    assert not same_subject("", "")


def test_addresses_of_callers() -> None:
    assert plain_address("::ffff:10.1.2.3") == ip_address("10.1.2.3")
    assert plain_address("fe80::1%eth0") == ip_address("fe80::1")


def caller(calling: str = "CT", address: str = "10.1.2.3", called: str = "NORTH", **certificate: str) -> Caller:
    return Caller(called=called, calling=calling, address=ip_address(address), **certificate)


def test_who_is_admitted(north: Hospital, south: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        here = add_peer_as_operator(fields=PeerFields(ae_title="CT", network="10.1.2.0/24"), by=TEST)
        six = add_peer_as_operator(fields=PeerFields(ae_title="CT", network="2001:db8::/32"), by=TEST)
        printed = add_peer_as_operator(
            fields=PeerFields(ae_title="DX", network="10.1.2.3", certificate=FINGERPRINT), by=TEST
        )
        named = add_peer_as_operator(
            fields=PeerFields(ae_title="DX", network="10.1.0.0/16", certificate="CN=dx,O=Clinic"), by=TEST
        )
    admitted = {
        caller(): here,
        caller(address="2001:db8::9"): six,
        caller("DX", fingerprint=FINGERPRINT, subject="CN=other"): printed,
        caller("DX", fingerprint="cd" * 32, subject="O=Clinic,CN=dx"): named,
    }
    for each, peer in admitted.items():
        admission = admit_caller(each)
        assert (admission.tenant, admission.peer_id) == (north.tenant, peer.pk), each
    refused = {
        caller("CT2"): "not-listed",
        caller("ct"): "not-listed",
        caller(address="10.1.3.1"): "other-address",
        caller("DX"): "other-certificate",
        caller("DX", fingerprint="cd" * 32, subject="CN=dx"): "other-certificate",
        caller(called="SOUTH"): "not-listed",
    }
    for each, reason in refused.items():
        admission = admit_caller(each)
        assert (admission.peer_id, admission.reason) == (None, reason), each
    assert admit_caller(caller(called="NOBODY")).tenant is None
    assert admit_caller(caller(PEER, "127.0.0.1", "SOUTH")).tenant == south.tenant
    south.tenant.is_active = False
    south.tenant.save()
    assert admit_caller(caller(PEER, "127.0.0.1", "SOUTH")).reason == "closed"


def test_the_role_that_looks_a_caller_up_sees_no_more_than_it_needs(north: Hospital) -> None:
    with connections["auth"].cursor() as cursor:
        cursor.execute("select ae_title, network, certificate from routing_peer")
        assert cursor.fetchall() == [(PEER, "127.0.0.1/32", "")]
        for column in ("description", "last_seen"):
            cursor.execute("select has_column_privilege('chx_auth', 'routing_peer', %s, 'select')", [column])
            assert cursor.fetchone() == (False,)
        cursor.execute("select has_table_privilege('chx_auth', 'routing_refusal', 'select')")
        assert cursor.fetchone() == (False,)


def test_a_peer_is_listed_once(north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        add_peer_as_operator(fields=PeerFields(ae_title="CT", network="10.1.2.3"), by=TEST)
        with pytest.raises(ConflictError):
            add_peer_as_operator(fields=PeerFields(ae_title="CT", network="10.1.2.3/32"), by=TEST)
        with pytest.raises(InvalidInputError):
            add_peer_as_operator(fields=PeerFields(ae_title="CT", network="10.1.2.3/8"), by=TEST)
        assert Peer.objects.filter(ae_title="CT").count() == 1


def test_only_administrators_change_the_peers(north: Hospital) -> None:
    fields = PeerFields(ae_title="CT", network="10.1.2.3")
    with tenant_tx(north.tenant.id):
        admin = Membership.objects.get(user=north.admin)
        peer = add_peer(fields=fields, membership=admin, by=TEST)
        for other in (None, Membership.objects.get(user=north.radiologist)):
            with pytest.raises(NotPermittedError):
                add_peer(fields=PeerFields(ae_title="DX", network="10.1.2.4"), membership=other, by=TEST)
            with pytest.raises(NotPermittedError):
                change_peer(peer_id=peer.pk, fields=fields, membership=other, by=TEST)
            with pytest.raises(NotPermittedError):
                remove_peer(peer_id=peer.pk, membership=other, by=TEST)
        remove_peer(peer_id=peer.pk, membership=admin, by=TEST)
        assert not Peer.objects.filter(ae_title="CT").exists()


def test_the_latest_refusals_are_kept(north: Hospital) -> None:
    with tenant_tx(north.tenant.id):
        before = timezone.now() - timedelta(days=1)
        Refusal.objects.bulk_create(
            Refusal(ae_title=f"N{number}", address="10.0.0.1", reason="not-listed", first=before, last=before)
            for number in range(REFUSALS_KEPT)
        )
        note_refusal(ae_title="NEW", address="10.0.0.1", reason=Refusal.Reason.NOT_LISTED, amount=1, by=TEST)
        assert Refusal.objects.count() == REFUSALS_KEPT
        assert Refusal.objects.filter(ae_title="NEW").exists()


def listed(*arguments: str) -> str:
    output = StringIO()
    call_command("list_dicom_peers", *arguments, stdout=output)
    return output.getvalue()


def test_commands(north: Hospital, south: Any) -> None:
    with tenant_tx(north.tenant.id):
        Peer.objects.all().delete()
        record(action=AuditEvent.Action.INSTANCE_STORED, by=Actor(name="dimse:OLD_CT"))
        note_refusal(ae_title="CT", address="10.1.2.3", reason=Refusal.Reason.NOT_LISTED, amount=2, by=TEST)
    before = listed("north")
    for words in ("no peer is listed", "OLD_CT", "sent images before, and is not listed", "refused 2 times"):
        assert words in before, words
    assert "south" not in before
    call_command("add_dicom_peer", "north", "OLD_CT", "10.1.2.0/24", stdout=StringIO())
    after = listed()
    assert "10.1.2.0/24" in after
    assert "sent images before" not in after
    assert "south (SOUTH)" in after
    for wrong in (("nowhere", "CT", "10.1.2.3"), ("north", "CT", "10.1.2.3/8"), ("north", "OLD_CT", "10.1.2.0/24")):
        with pytest.raises(CommandError):
            call_command("add_dicom_peer", *wrong)
