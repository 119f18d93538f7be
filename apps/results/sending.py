"""Sends one delivery: an event to a webhook, an object or a test image to a DICOM destination.

The jobs worker runs it. No transaction is open while the receiver answers. It imports highdicom and pynetdicom, which
the web processes do not need.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from uuid import UUID

from pydicom import dcmread

from apps.core.encryption import SecretLostError, decrypt
from apps.core.errors import ObjectLostError
from apps.core.outbound import UnreachableError, describe_status
from apps.core.tls import CertificateError, ClientTls
from apps.core.webhooks import secrets_of, send_message
from apps.events.deliveries import SendOutcome
from apps.events.models import Delivery
from apps.results.clients.association import PeerError
from apps.results.clients.peers import node_of, noting
from apps.results.clients.store_scu import NO_RESPONSE, OutgoingInstance, send_instances
from apps.results.clients.stow import DUPLICATE, StowServer, store
from apps.results.models import ResultObject
from apps.results.objects.identity import encode
from apps.results.objects.test_image import build_test_image
from apps.routing.models import Destination
from apps.studies.models import object_key
from apps.studies.storage import local_path, put_bytes
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import allowed_networks

# Statuses of C-STORE that concern the peer and not the object: no answer, and out of resources (PS3.4 table B.2-1).
_OF_THE_PEER = frozenset({NO_RESPONSE, *range(0xA700, 0xA800)})


@dataclass(frozen=True, eq=False)
class _Task:
    """What is sent where, as it is when the attempt begins."""

    delivery: Delivery
    destination: Destination
    tenant: Tenant
    networks: tuple[str, ...]
    row: ResultObject | None


def send(delivery: Delivery) -> SendOutcome:
    """Make one attempt of a claimed delivery."""
    tenant_id = cast(UUID, delivery.tenant_id)
    with tenant_tx(tenant_id):
        full = Delivery.objects.select_related("destination__peer", "event").get(pk=delivery.pk)
        objects = ResultObject.objects.select_related("study")
        row = objects.filter(pk=full.object_id).first() if full.object_id else None
        tenant = Tenant.objects.get(pk=tenant_id)
        task = _Task(full, full.destination, tenant, tuple(allowed_networks(tenant)), row)
    if full.object_id and row is None:
        return SendOutcome(failure="This object is no longer stored.", is_final=True)
    if row is not None and row.study.withdrawn is not None:
        return SendOutcome(failure="Its study was withdrawn.", is_final=True)
    try:
        return _SENDERS[Destination.Kind(full.destination.kind)](task)
    except (UnreachableError, SecretLostError, CertificateError) as error:
        return SendOutcome(failure=str(error), is_of_destination=True)
    except (FileNotFoundError, ObjectLostError):
        return SendOutcome(failure="The stored object is missing or damaged.")


def _send_event(task: _Task) -> SendOutcome:
    destination, delivery = task.destination, task.delivery
    status = send_message(
        url=destination.url,
        message_id=delivery.message_id,
        body=json.dumps(delivery.message, sort_keys=True).encode(),
        secrets=secrets_of(destination.secret_names),
        networks=task.networks,
    )
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return SendOutcome(str(status))
    return SendOutcome(str(status), describe_status(status), is_of_destination=True, is_gone=status == HTTPStatus.GONE)


def _send_by_stow(task: _Task) -> SendOutcome:
    with local_path(_stored(task)) as path:
        data = path.read_bytes()
    destination = task.destination
    server = StowServer(
        destination.url,
        decrypt(destination.token_encrypted, context=destination.context_of("token")),
        ClientTls(
            destination.authorities,
            destination.client_certificate,
            decrypt(destination.client_key_encrypted, context=destination.context_of("client_key")),
        ),
        task.networks,
    )
    answer = store(server, data)
    return SendOutcome(
        str(answer.status),
        answer.failure,
        is_of_destination=bool(answer.failure) and not answer.is_of_instance,
    )


def _send_by_dimse(task: _Task) -> SendOutcome:
    peer = task.destination.peer
    assert peer is not None
    if not peer.can_be_called:
        return SendOutcome(
            failure="The peer has no host and port: enter them under DICOM peers.", is_of_destination=True
        )
    instance = _outgoing(task)
    try:
        with noting(peer.pk, task.tenant.pk):
            (outcome,) = send_instances(node_of(peer, task.tenant), [instance])
    except PeerError as error:
        return SendOutcome(failure=error.detail, is_of_destination=True)
    answer = f"0x{outcome.status:04X}"
    if outcome.is_stored or outcome.status == DUPLICATE:
        stored = (instance.sop_class_uid, instance.sop_instance_uid)
        return SendOutcome(answer, to_commit=stored if task.destination.asks_commitment else None)
    # The peer's comment may contain patient data.
    failure = f"The peer did not store it: status {answer}."
    return SendOutcome(answer, failure, is_of_destination=outcome.status in _OF_THE_PEER)


def _outgoing(task: _Task) -> OutgoingInstance:
    key = _stored(task)
    with local_path(key) as path:
        meta = dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta
        size = path.stat().st_size
    return OutgoingInstance(
        str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID), key, size
    )


def _stored(task: _Task) -> str:
    """The key of the object to send; a test image is stored first, as an orphan that is collected later."""
    if task.row is not None:
        return task.row.object_key
    data = encode(build_test_image(str(task.destination.pk), task.destination.created))
    key = object_key(task.tenant.pk, hashlib.sha256(data).hexdigest())
    put_bytes(key, data)
    return key


_SENDERS: dict[Destination.Kind, Callable[[_Task], SendOutcome]] = {
    Destination.Kind.WEBHOOK: _send_event,
    Destination.Kind.STOW: _send_by_stow,
    Destination.Kind.DIMSE: _send_by_dimse,
}
