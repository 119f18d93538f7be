"""Records accepted and refused callers in the tenant's rows: bounded in number, and without delaying an association."""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import DatabaseError, IntegrityError, InterfaceError, close_old_connections
from django.utils import timezone

from apps.audit.services import Actor
from apps.routing.models import Refusal
from apps.routing.selectors import Caller, PeerAdmission
from apps.routing.services import note_refusal, note_seen
from apps.tenants.scope import tenant_tx

logger = logging.getLogger(__name__)

# The first refusal of a caller is written at once, later ones together after this time, as are accepted peers.
TOGETHER_SECONDS: Final = 60
# An attacker can use any AE title: beyond this many callers of a tenant, the others count as one.
CALLERS_PER_TENANT: Final = 50
SEVERAL: Final = "(several)"
_TICK_SECONDS: Final = 0.5
_LAST_TRY_SECONDS: Final = 5


@dataclass
class _Refused:
    reason: Refusal.Reason
    address: str
    waiting: int = 0
    written: float = float("-inf")


@dataclass
class _Seen:
    tenant_id: UUID
    waiting: bool = True
    written: float = float("-inf")


@dataclass
class CallerLog:
    """Collects accepted and refused callers in memory; a thread of its own writes them to the database."""

    _refused: dict[tuple[UUID, str, str], _Refused] = field(default_factory=dict)
    _seen: dict[UUID, _Seen] = field(default_factory=dict)
    _unknown: int = 0
    _unknown_written: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dimse-callers", daemon=True)
        self._thread.start()

    def accepted(self, admission: PeerAdmission) -> None:
        assert admission.tenant is not None
        assert admission.peer_id is not None
        with self._lock:
            seen = self._seen.setdefault(admission.peer_id, _Seen(admission.tenant.id))
            seen.waiting = True

    def refused(self, admission: PeerAdmission, caller: Caller) -> None:
        with self._lock:
            if admission.tenant is None or admission.reason is None:
                self._unknown += 1
                return
            tenant_id, address = admission.tenant.id, str(caller.address)
            key = (tenant_id, caller.calling, address)
            if key not in self._refused and self._count(tenant_id) >= CALLERS_PER_TENANT:
                key = (tenant_id, SEVERAL, "")
            refused = self._refused.setdefault(key, _Refused(admission.reason, address))
            refused.reason = admission.reason
            refused.waiting += 1

    def close(self) -> None:
        """Write the remaining entries, if the database answers within seconds."""
        self._ending.set()
        self._thread.join(_LAST_TRY_SECONDS)

    def _count(self, tenant_id: UUID) -> int:
        return sum(tenant == tenant_id for tenant, _, _ in self._refused)

    def _run(self) -> None:
        while not self._ending.wait(_TICK_SECONDS):
            self._write(all_of_it=False)
        self._write(all_of_it=True)
        close_old_connections()

    def _write(self, *, all_of_it: bool) -> None:
        due = float("inf") if all_of_it else time.monotonic() - TOGETHER_SECONDS
        try:
            close_old_connections()
            self._write_seen(due)
            self._write_refused(due)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("Callers could not be recorded yet: %s.", type(error).__name__)
        if self._unknown and self._unknown_written < due:
            with self._lock:
                unknown, self._unknown = self._unknown, 0
            self._unknown_written = time.monotonic()
            logger.warning("Associations refused because no tenant has the called AE title: %d.", unknown)

    def _write_seen(self, due: float) -> None:
        with self._lock:
            for peer_id in [key for key, each in self._seen.items() if not each.waiting and each.written < due]:
                del self._seen[peer_id]
            waiting = [(key, each) for key, each in self._seen.items() if each.waiting and each.written < due]
        for peer_id, seen in waiting:
            # Reset before writing: a call that comes meanwhile is written next time.
            seen.waiting = False
            try:
                with tenant_tx(seen.tenant_id):
                    note_seen(peer_id=peer_id, at=timezone.now())
            except DatabaseError:
                seen.waiting = True
                raise
            seen.written = time.monotonic()

    def _write_refused(self, due: float) -> None:
        with self._lock:
            for forgotten in [key for key, each in self._refused.items() if not each.waiting and each.written < due]:
                del self._refused[forgotten]
            waiting = [(key, each) for key, each in self._refused.items() if each.waiting and each.written < due]
        for (tenant_id, calling, _), refused in waiting:
            amount = refused.waiting
            # The tenant may have been deleted meanwhile.
            with suppress(IntegrityError), tenant_tx(tenant_id):
                note_refusal(
                    ae_title=calling,
                    address=refused.address,
                    reason=refused.reason,
                    amount=amount,
                    by=Actor(name=f"dimse:{calling}", address=refused.address),
                )
            refused.written = time.monotonic()
            with self._lock:
                refused.waiting -= amount
