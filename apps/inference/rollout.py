"""The progress of a rollout: which live workers serve a version that was activated."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apps.inference.selectors import live_workers
from apps.registry.models import ModelVersion


@dataclass(frozen=True)
class Rollout:
    """Numbers of live workers; for those that cannot load the version, the name and the reason."""

    serving: int
    waiting: int
    refusals: Sequence[tuple[str, str]]

    @property
    def description(self) -> str:
        count = self.serving + self.waiting + len(self.refusals)
        if not count:
            return "No worker runs now: each loads it when it starts."
        served = f"{self.serving} of {count} worker{'s' if count > 1 else ''} serve{'' if count > 1 else 's'} it."
        return f"{served} The rest load it; see Workers in the console." if self.waiting else served


def last_seen_of_workers() -> Mapping[str, datetime.datetime]:
    """When each live worker last reported, by name; read before an activation."""
    return dict(live_workers().values_list("name", "last_seen"))


def rollout(version: ModelVersion, before: Mapping[str, datetime.datetime]) -> Rollout:
    """Count the live workers by their state for the version; one that has not reported since ``before`` is waiting."""
    serving = waiting = 0
    refusals = []
    for worker in live_workers():
        is_news = worker.last_seen != before.get(worker.name)
        held = {each["version"]: each for each in worker.versions} if is_news else {}
        state = held.get(str(version))
        if state is not None and state["state"] == "refused":
            refusals.append((worker.name, state["reason"]))
        elif state is not None and state["state"] == "serving":
            serving += 1
        else:
            waiting += 1
    return Rollout(serving, waiting, refusals)
