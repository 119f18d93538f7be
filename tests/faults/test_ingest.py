"""Images arrive by STOW and C-STORE while dependencies are killed; no accepted image is lost."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pydicom
import pytest
import requests
from django.db import DatabaseError, connections

from apps.core.work_queue import OPEN_STATES
from apps.inference.models import InferenceJob
from apps.tenants.scope import tenant_tx
from config.embedded import postgres, valkey
from config.processes import ENVIRONMENT, command
from config.supervisor import Service, Supervisor
from tests.conftest import Hospital
from tests.dicomweb.web import WebServer, running_web_server
from tests.dimse.listening import ListenerProcess, listener_process
from tests.faults.invariants import broken_invariants, spool_leftovers
from tests.faults.servers import durable_postgres, kill, postgres_is_back
from tests.flows.processes import wait_for

# The longest that PostgreSQL, killed in the middle of writing, may need to recover on a busy machine.
RECOVERY_SECONDS = 120


class Senders:
    """Clients that send one image after the other, again until it is accepted, and keep a log of what was."""

    def __init__(
        self, hospital: Hospital, web: WebServer, dimse: ListenerProcess, make_film: Callable[..., Path]
    ) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        self._hospital, self._web, self._dimse = hospital, web, dimse
        self._make_film = make_film
        self._seeds = itertools.count(1000)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(way,)) for way in (self._stow, self._store)]

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _send(self, way: Callable[[Path], bool]) -> None:
        while not self._stop.is_set():
            with self._lock:
                path = self._make_film(seed=next(self._seeds), size=128)
            while not way(path):
                self.refused += 1
                if self._stop.wait(0.5):
                    return
            self.accepted.append(str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID))
            self._stop.wait(0.2)

    def _stow(self, path: Path) -> bool:
        try:
            return self._web.stow(self._hospital.api_key, [path.read_bytes()]).status_code in (200, 202)
        except requests.RequestException:
            return False

    def _store(self, path: Path) -> bool:
        dataset = pydicom.dcmread(path)
        association = self._dimse.associate(self._hospital.tenant.ae_title, dataset)
        if not association.is_established:
            return False
        try:
            return getattr(association.send_c_store(dataset), "Status", None) == 0
        finally:
            association.release()


@contextmanager
def reading() -> Iterator[Supervisor]:
    """A worker and a dispatcher, started again whenever they die."""
    environment = ENVIRONMENT | os.environ
    supervisor = Supervisor(
        [Service(name, command(name), environment) for name in ("worker", "dispatcher")],
    )
    supervisor.start()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            supervisor.check(give_up=False)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield supervisor
    finally:
        ended.set()
        watcher.join()
        supervisor.stop()


@pytest.mark.long
def test_every_part_is_killed_while_images_arrive(
    starter: Any, north: Hospital, make_film: Callable[..., Path]
) -> None:
    with (
        durable_postgres(),
        running_web_server(workers=2) as web,
        listener_process() as dimse,
        reading() as supervisor,
        Senders(north, web, dimse, make_film) as senders,
    ):
        for _ in range(2):
            wait_for_more(senders)
            web.workers()[0].kill()
            wait_for_more(senders)
            kill(valkey.process())
            wait_for_more(senders)
            valkey.start()
            kill(postgres.postmaster())
            wait_for(lambda: postgres_is_back(durable=True), 60, "The server's return")
            wait_for_more(senders)
            worker = supervisor.services[0].process
            assert worker is not None
            kill(psutil.Process(worker.pid))
            wait_for_more(senders)
        senders.stop()
        wait_for(lambda: not open_jobs(north), RECOVERY_SECONDS, "The end of every reading")
        assert broken_invariants(north, senders.accepted) == []
        assert len(senders.accepted) > 20
    assert spool_leftovers() == []


def wait_for_more(senders: Senders, count: int = 4) -> None:
    """Until some more images were accepted: the product serves again."""
    before = len(senders.accepted)
    wait_for(lambda: len(senders.accepted) >= before + count, RECOVERY_SECONDS, "More accepted images")


def open_jobs(hospital: Hospital) -> int:
    try:
        connections.close_all()
        with tenant_tx(hospital.tenant.id):
            return InferenceJob.objects.filter(state__in=OPEN_STATES).count()
    except DatabaseError:
        time.sleep(1)
        return 1
