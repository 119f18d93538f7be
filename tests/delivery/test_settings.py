"""What a destination needs, its credentials, and the pages on which administrators look after it."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from apps.core.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from apps.results import destinations as services
from apps.results.destinations import DestinationSettings
from apps.routing.models import Destination
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital
from tests.core.receiving import Receiver, receiver
from tests.delivery.acting import BY, act, add, allow_loopback, deliveries, make_due, row_of, send
from tests.result_objects.conftest import member


def test_what_a_destination_needs(north: Hospital, south: Hospital, there: Receiver, certificates: Path) -> None:
    url = there.url
    with pytest.raises(InvalidInputError, match="begins with https"):
        add(north, "stow", url)
    with pytest.raises(InvalidInputError, match="operator of the platform allows"):
        add(north, "stow", url.replace("http:", "https:"))
    allow_loopback(north)
    for wrong, said in (
        ({"contents": []}, "Choose one or more"),
        ({"contents": ["study.received"]}, "Choose one or more"),
        ({"name": " "}, "Give the destination a name"),
        ({"token": "a b"}, "no header can hold"),
        ({"client_certificate": "x"}, "together"),
        ({"client_certificate": "x", "client_key": "y"}, "do not belong together"),
        ({"authorities": "x"}, "CA certificates"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            add(north, "stow", url, **wrong)
    with pytest.raises(InvalidInputError, match="DICOM peer"):
        add(north, "dimse")
    certificate, key = ((certificates / name).read_text() for name in ("client.pem", "client.key"))
    pacs, _ = add(north, "stow", url, token="s3cret-token", client_certificate=certificate, client_key=key, name="PACS")
    with pytest.raises(ConflictError, match="this name"):
        add(north, "stow", url, name="PACS")
    assert "s3cret-token" not in repr(vars(pacs))
    assert "PRIVATE KEY" not in repr(vars(pacs))
    act(north, services.send_test, destination_id=pacs.pk)
    send()
    assert there.got[0][0]["authorization"] == "Bearer s3cret-token"
    chosen = DestinationSettings(name="PACS", contents=["structured-report"], url=url)
    act(north, services.change_destination, destination_id=pacs.pk, chosen=chosen)
    assert row_of(north, pacs).token_encrypted, "An empty field keeps it."
    act(
        north,
        services.change_destination,
        destination_id=pacs.pk,
        chosen=replace(chosen, token="", client_certificate=""),
    )
    assert row_of(north, pacs).token_encrypted == row_of(north, pacs).client_key_encrypted == ""
    with pytest.raises(NotFoundError):
        act(south, services.send_test, destination_id=pacs.pk)
    with pytest.raises(NotPermittedError), tenant_tx(north.tenant.pk):
        services.send_test(destination_id=pacs.pk, caller=member(north, north.radiologist), by=BY)


def test_a_server_of_the_hospitals_own_authority_that_asks_for_a_certificate(
    north: Hospital, certificates: Path
) -> None:
    allow_loopback(north)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    ca, certificate, key = ((certificates / name).read_text() for name in ("ca.pem", "client.pem", "client.key"))
    with receiver(context) as pacs:
        unknown, _ = add(north, "stow", pacs.url, name="unknown", client_certificate=certificate, client_key=key)
        silent, _ = add(north, "stow", pacs.url, name="silent", authorities=ca)
        known, _ = add(
            north, "stow", pacs.url, name="known", authorities=ca, client_certificate=certificate, client_key=key
        )
        for each in (unknown, silent, known):
            act(north, services.send_test, destination_id=each.pk)
        send()
        assert len(pacs.got) == 1
    reasons = {each.destination.name: each.reason for each in deliveries(north)}
    assert reasons["known"] == ""
    assert "CERTIFICATE_VERIFY_FAILED" in reasons["unknown"]
    assert reasons["silent"]


def test_a_change_keeps_the_secret_that_is_renewed_meanwhile(north: Hospital, there: Receiver) -> None:
    allow_loopback(north)
    events = ["study.received"]
    webhook, _ = add(north, "webhook", there.url, events, name="Before")
    chosen = DestinationSettings(name="After", contents=events, url=there.url)

    def change() -> None:
        act(north, services.change_destination, destination_id=webhook.pk, chosen=chosen)
        connection.close()

    changing = threading.Thread(target=change)
    admin = member(north, north.admin)
    with tenant_tx(north.tenant.pk):
        services.renew_webhook_secret(destination_id=webhook.pk, caller=admin, by=BY)
        changing.start()
        # Long enough for the change to meet the row that this transaction has locked.
        changing.join(2)
    changing.join(60)
    row = row_of(north, webhook)
    assert (row.name, row.secret_number) == ("After", 2)


def test_an_administrator_looks_after_destinations(
    north: Hospital, south: Hospital, there: Receiver, sign_in: Callable[..., Client]
) -> None:
    allow_loopback(north)
    client = sign_in(north, north.admin)
    page = reverse("portal:destinations")
    assert "Results stay here" in client.get(page).content.decode()
    new = reverse("portal:new-destination", args=["stow"])
    given = {"name": "Archive", "url": "https://10.0.0.1/studies", "contents": ["structured-report"], "token": "t0ken"}
    assert "operator of the platform allows" in client.post(new, given).content.decode()
    answer = client.post(new, {**given, "url": there.url}, follow=True)
    assert "Archive" in answer.content.decode()
    assert "No Structured Report is made of results here" in answer.content.decode()
    address = answer.redirect_chain[-1][0]
    there.answers = [503]
    client.post(f"{address}test/")
    send()
    shown = client.get(address).content.decode()
    assert "The receiver answered 503 Service Unavailable." in shown
    assert "next attempt" in shown
    assert "t0ken" not in shown
    for _ in range(9):
        there.answers = [503]
        make_due(north)
        send()
    failed = client.get(f"{address}?failed").content.decode()
    assert "given up" in failed
    assert "(1)" in client.get(address).content.decode()
    client.post(f"{address}again/")
    send()
    assert "arrived" in client.get(address).content.decode()
    client.post(f"{reverse('portal:repeat-delivery', args=[deliveries(north)[0].pk])}")
    send()
    assert there.got[-1][0]["authorization"] == "Bearer t0ken"
    changed = client.post(
        address, {**given, "name": "PACS", "url": there.url, "token": "", "forget": "on"}, follow=True
    )
    assert "PACS" in changed.content.decode()
    client.post(f"{address}test/")
    send()
    assert "authorization" not in there.got[-1][0]
    assert "switched off" in client.post(f"{address}switch/", {"is_enabled": "0"}, follow=True).content.decode()
    assert client.get(address).status_code == 200
    assert "was removed" in client.post(f"{address}remove/", follow=True).content.decode()
    assert deliveries(north) == []
    hook = {"name": "Hook", "url": there.url, "contents": ["report.signed"]}
    secret = client.post(reverse("portal:new-destination", args=["webhook"]), hook).content.decode()
    assert "whsec_" in secret
    with tenant_tx(north.tenant.pk):
        address = reverse("portal:destination", args=[Destination.objects.get().pk])
    assert "whsec_" not in client.get(address).content.decode()
    assert "whsec_" in client.post(f"{address}secret/").content.decode()
    client = sign_in(south, south.admin)
    assert client.get(address).status_code == 404
    assert client.post(f"{address}remove/").status_code == 404
