"""DICOM peers in the portal: only administrators list, change and remove them."""

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.audit.services import Actor
from apps.routing.models import Peer, Refusal
from apps.routing.services import note_refusal
from apps.tenants.scope import tenant_tx
from tests.dimse.peers import storescp

LIST = reverse("portal:peers")
CT = {"ae_title": " CT 1 ", "network": "10.1.2.0/24", "certificate": "", "description": "CT, first floor"}


def only_peer(hospital: Any) -> Peer:
    with tenant_tx(hospital.tenant.id):
        return Peer.objects.get()


@pytest.fixture
def unlisted(north: Any) -> Any:
    """A hospital without a peer."""
    with tenant_tx(north.tenant.id):
        Peer.objects.all().delete()
    return north


def test_a_peer_is_added_changed_and_removed(unlisted: Any, south: Any, sign_in: Any) -> None:
    admin = sign_in(unlisted, unlisted.admin)
    assert "Nothing can send yet" in admin.get(LIST).content.decode()

    shown = admin.post(LIST, CT, follow=True).content.decode()
    for words in ("CT 1 from 10.1.2.0/24 may send from now on", "CT, first floor", "never"):
        assert words in shown, words
    assert "Nothing can send yet" not in shown
    peer = only_peer(unlisted)
    assert (peer.ae_title, peer.network) == ("CT 1", "10.1.2.0/24")

    page = reverse("portal:peer", args=[peer.pk])
    assert "first floor" in admin.get(page).content.decode()
    assert admin.post(page, {**CT, "network": "10.1.2.3"}).status_code == 302
    assert only_peer(unlisted).network == "10.1.2.3/32"
    # Another hospital's administrator finds nothing under its key.
    assert sign_in(south, south.admin).post(page, CT).status_code == 404
    assert sign_in(south, south.admin).post(reverse("portal:remove-peer", args=[peer.pk])).status_code == 404
    assert only_peer(unlisted).network == "10.1.2.3/32"

    removed = admin.post(reverse("portal:remove-peer", args=[peer.pk]), follow=True).content.decode()
    assert "CT 1 from 10.1.2.3 is refused from now on" in removed
    assert "Nothing can send yet" in removed
    with tenant_tx(unlisted.tenant.id):
        lines = AuditEvent.objects.filter(action__startswith="peer.").order_by("at")
        assert [(line.action, line.object_id, line.user) for line in lines] == [
            (action, peer.pk, unlisted.admin) for action in ("peer.added", "peer.changed", "peer.removed")
        ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ae_title": "ABCDEFGHIJKLMNOPQ"}, "Use 1 to 16 characters"),
        ({"ae_title": "A\\B"}, "no backslash"),
        ({"network": "10.1.2.3/24"}, "write 10.1.2.0/24 or 10.1.2.3"),
        ({"network": "ct1.example"}, "Write an address such as"),
        ({"network": "0.0.0.0/0"}, "contains every address"),
        ({"certificate": "CN=ct1"}, "TLS is off on this platform"),
        ({"ae_title": "MODALITY", "network": "127.0.0.1"}, "is listed already"),
    ],
)
def test_what_cannot_be_used_is_said_beside_it(north: Any, sign_in: Any, wrong: dict[str, str], says: str) -> None:
    shown = sign_in(north, north.admin).post(LIST, {**CT, **wrong})
    assert shown.status_code == 200
    assert says in shown.content.decode()
    assert only_peer(north).ae_title == "MODALITY"


def test_a_refused_caller_is_shown_and_fills_in_the_form(north: Any, south: Any, sign_in: Any) -> None:
    with tenant_tx(north.tenant.id):
        Peer.objects.update(last_seen=timezone.now())
        for title, reason in (("STRANGER", Refusal.Reason.NOT_LISTED), ("MODALITY", Refusal.Reason.OTHER_ADDRESS)):
            note_refusal(ae_title=title, address="10.9.8.7", reason=reason, amount=3, by=Actor(name="dimse:x"))
        stranger = Refusal.objects.get(ae_title="STRANGER")
    shown = sign_in(north, north.admin).get(LIST, {"refusal": str(stranger.pk)}).content.decode()
    for words in ("Refused lately", "This AE title is not listed", "Listed for another address (10.9.8.7)"):
        assert words in shown, words
    assert 'value="STRANGER"' in shown
    assert 'value="10.9.8.7"' in shown
    elsewhere = sign_in(south, south.admin).get(LIST, {"refusal": str(stranger.pk)}).content.decode()
    assert "STRANGER" not in elsewhere


@pytest.mark.parametrize("role", ["radiologist", "technologist"])
def test_other_roles_do_not_get_there(north: Any, sign_in: Any, role: str) -> None:
    client = sign_in(north, getattr(north, role))
    peer = only_peer(north)
    assert client.get(LIST).status_code == 403
    assert client.post(LIST, CT).status_code == 403
    assert client.post(reverse("portal:peer", args=[peer.pk]), CT).status_code == 403
    assert client.post(reverse("portal:remove-peer", args=[peer.pk])).status_code == 403
    assert LIST not in client.get("/").content.decode()
    assert only_peer(north).pk == peer.pk


@pytest.mark.peer("DCMTK", "C-ECHO from us")
def test_echo_says_whether_a_peer_answers_and_why_not(unlisted: Any, south: Any, sign_in: Any, tmp_path: Any) -> None:
    admin = sign_in(unlisted, unlisted.admin)
    with storescp(tmp_path / "in") as receiver:
        fields = {**CT, "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": "", "is_send_only": "on"}
        assert "Give the port" in admin.post(LIST, fields).content.decode()
        admin.post(LIST, {**fields, "port": receiver.port})
        peer = only_peer(unlisted)
        assert (peer.called_at, peer.is_send_only, peer.tls) == (f"127.0.0.1:{receiver.port}", True, False)
        echo = reverse("portal:echo-peer", args=[peer.pk])
        assert "ask the operator to allow it" in admin.post(echo, follow=True).content.decode()
        assert only_peer(unlisted).last_problem == "address-not-allowed"

        unlisted.tenant.private_networks = "127.0.0.0/8"
        unlisted.tenant.save()
        shown = admin.post(echo, follow=True).content.decode()
        assert "ARCHIVE answered." in shown
        assert "answered 20" in shown
        assert only_peer(unlisted).problem is None
        assert sign_in(south, south.admin).post(echo).status_code == 404
    shown = admin.post(echo, follow=True).content.decode()
    assert "Nothing answers there" in shown
    assert "Last error 20" in shown
    # Another address has not been tried.
    admin.post(reverse("portal:peer", args=[peer.pk]), {**fields, "port": 104})
    assert only_peer(unlisted).last_problem == ""
