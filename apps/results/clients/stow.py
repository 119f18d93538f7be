"""STOW-RS as a client (PS3.18 10.5): stores one instance at another system."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from apps.core.outbound import describe_status, exchange
from apps.core.tls import ClientTls

SECONDS: Final = 60.0
_MOST_ANSWER_BYTES: Final = 64 * 1024
# Statuses that concern this instance; every other one is about the server, or about who we are.
_OF_THE_INSTANCE: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
# PS3.4 table B.2-1 and PS3.7 annex C: the server has this instance already.
DUPLICATE: Final = 0x0111
_FAILURES: Final = ("00081198", "0008119A")


@dataclass(frozen=True)
class StowServer:
    """A server that takes instances.

    Attributes:
        url: of its studies resource, such as ``https://pacs.example/dicom-web/studies``.
        token: a bearer token (RFC 6750); empty: none is sent.
        networks: the private networks in which it may be.
    """

    url: str
    token: str = ""
    tls: ClientTls = field(default_factory=ClientTls)
    networks: Sequence[str] = ()


@dataclass(frozen=True)
class StowAnswer:
    """What the server said of the instance.

    Attributes:
        failure: why it was not stored; empty where it was, or was there already.
        is_of_instance: the server answers, but does not take this instance.
    """

    status: int
    failure: str = ""
    is_of_instance: bool = False


def store(server: StowServer, data: bytes) -> StowAnswer:
    """Store one Part 10 file.

    Raises:
        UnreachableError: nothing was sent, or no answer came within `SECONDS`.
        CertificateError: the certificates of the server cannot be used.
    """
    boundary = f"checxray-{secrets.token_hex(16)}"
    body = b"".join(
        (f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(), data, f"\r\n--{boundary}--\r\n".encode())
    )
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        "User-Agent": "Checxray",
    }
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    # Built also for http, so that a certificate that cannot be used is not ignored.
    tls = server.tls.context()
    answer = exchange(
        server.url, body, headers, networks=server.networks, tls=tls, seconds=SECONDS, most_bytes=_MOST_ANSWER_BYTES
    )
    return _read(answer.status, answer.body)


def _read(status: int, body: bytes) -> StowAnswer:
    """The outcome by the store instances response (PS3.18 annex I); by the status alone where there is none."""
    reasons = _failure_reasons(body)
    is_success = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    if reasons and (is_success or status == HTTPStatus.CONFLICT):
        refused = [reason for reason in reasons if reason != DUPLICATE]
        if not refused:
            return StowAnswer(status)
        listed = ", ".join(f"0x{reason:04X}" for reason in refused)
        return StowAnswer(status, f"The receiver did not store it: failure reason {listed}.", is_of_instance=True)
    if is_success:
        return StowAnswer(status)
    return StowAnswer(status, describe_status(status), is_of_instance=status in _OF_THE_INSTANCE)


def _failure_reasons(body: bytes) -> list[int]:
    """FailureReason (0008,1197) of each item of FailedSOPSequence and OtherFailuresSequence."""
    try:
        answer: Any = json.loads(body)
        dataset = answer[0] if isinstance(answer, list) else answer
        failed = [item for tag in _FAILURES for item in dataset.get(tag, {}).get("Value", [])]
        return [int(item.get("00081197", {}).get("Value", [0])[0]) for item in failed]
    # Any other shape, such as an XML answer or a page, says nothing about the instance.
    except (ValueError, AttributeError, LookupError, TypeError):
        return []
