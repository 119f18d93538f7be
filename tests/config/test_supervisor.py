"""A service that dies repeatedly ends the start, but does not stop services that run."""

import sys
import time

import pytest

from config.supervisor import ProcessKeepsDyingError, Service, Supervisor


def dying() -> Supervisor:
    supervisor = Supervisor([Service("dying", [sys.executable, "-S", "-c", "raise SystemExit(1)"], {})])
    supervisor.start()
    return supervisor


def look(supervisor: Supervisor, seconds: float, *, give_up: bool) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        supervisor.check(give_up=give_up)
        time.sleep(0.05)


def test_a_service_that_does_not_come_up_ends_the_start() -> None:
    with pytest.raises(ProcessKeepsDyingError, match="dying keeps stopping"):
        look(dying(), 30, give_up=True)


def test_a_service_that_dies_again_and_again_later_is_started_less_often() -> None:
    supervisor = dying()
    look(supervisor, 3, give_up=False)
    assert supervisor.services[0].restarts == 4, "The fifth start comes after a pause."
    supervisor.stop()
