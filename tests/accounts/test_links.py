"""Links by e-mail: sent only to the invited person, and not made where the mail server does not answer."""

import re
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Invitation
from apps.tenants.scope import tenant_tx
from tests.conftest import Hospital


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as takes one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            command = line.strip().upper()
            if command == b"DATA":
                self.wfile.write(b"354 go\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.taken.append(b"".join(lines))  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
            if command == b"QUIT":
                return


@pytest.fixture
def mail(settings: Any) -> Iterator[list[bytes]]:
    """What a real mail server took."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        server.taken = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", server.server_address[1], False
        yield server.taken  # type: ignore[attr-defined]
        server.shutdown()


def test_a_link_goes_to_its_person_and_is_not_shown(north: Hospital, sign_in: Any, mail: list[bytes]) -> None:
    page = sign_in(north, north.admin).post("/settings/people/", {"email": "new@north.example", "role": "radiologist"})

    message = message_from_bytes(mail[0], policy=policy.default)
    assert message["To"] == "new@north.example"
    text = message.get_content()  # type: ignore[attr-defined]
    link = re.search(r"http://testserver(/invitation/\S+)", text)
    assert link
    assert link[1] not in page.text
    assert "was sent to new@north.example" in page.text
    assert "Join North Hospital" in Client().get(link[1]).text


def test_a_mail_server_that_is_away(north: Hospital, sign_in: Any, mail: list[bytes], settings: Any) -> None:
    settings.EMAIL_PORT = 1
    page = sign_in(north, north.admin).post("/settings/people/", {"email": "new@north.example", "role": "radiologist"})

    assert page.status_code == 503
    assert "no link was made" in page.text
    with tenant_tx(north.tenant.id):
        assert not Invitation.objects.exists()
