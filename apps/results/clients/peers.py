"""A tenant's listed peers as receivers."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.utils.translation import gettext as _

from apps.core.errors import InvalidInputError
from apps.results.clients.association import PeerError, RemoteNode
from apps.results.clients.store_scu import echo
from apps.routing.models import Peer
from apps.routing.services import find_peer, note_problem, note_reached
from apps.tenants.models import Tenant
from apps.tenants.scope import tenant_tx
from apps.tenants.services import allowed_networks


def node_of(peer: Peer, tenant: Tenant) -> RemoteNode:
    """How to open an association with a peer that has a host; we call with the tenant's AE title."""
    assert peer.port is not None
    return RemoteNode(
        host=peer.host,
        port=peer.port,
        ae_title=peer.ae_title,
        calling_ae_title=tenant.ae_title,
        tls=peer.tls,
        certificate=peer.certificate,
        networks=tuple(allowed_networks(tenant)),
    )


def echo_peer(*, peer_id: UUID, tenant: Tenant) -> Peer:
    """Ask a peer for a C-ECHO, and record the answer. No transaction may be open: it takes seconds.

    Raises:
        NotFoundError: the tenant lists no such peer.
        InvalidInputError: the peer has no host.
        PeerError: it did not answer.
    """
    with tenant_tx(tenant.pk):
        peer = find_peer(peer_id)
        if not peer.can_be_called:
            raise InvalidInputError(_("This peer has no host: enter where it takes associations first."))
        node = node_of(peer, tenant)
    with noting(peer_id, tenant.pk):
        echo(node)
    return peer


@contextmanager
def noting(peer_id: UUID, tenant_id: UUID) -> Iterator[None]:
    """Record whether the peer could be reached, for the page of peers.

    Raises:
        PeerError: as the block raised it.
    """
    try:
        yield
    except PeerError as error:
        with tenant_tx(tenant_id):
            note_problem(peer_id=peer_id, problem=error.problem)
        raise
    with tenant_tx(tenant_id):
        note_reached(peer_id=peer_id)
