"""How far the workers are with a version that was put into service."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apps.inference.selectors import live_workers
from apps.registry.models import ModelVersion


@dataclass(frozen=True)
class Rollout:
    """Numbers of live workers; of those that cannot load the version, the name and the reason."""

    serving: int
    waiting: int
    refusals: Sequence[tuple[str, str]]

    @property
    def in_words(self) -> str:
        count = self.serving + self.waiting + len(self.refusals)
        if not count:
            return "No worker runs now: each loads it when it starts."
        served = f"{self.serving} of {count} worker{'s' if count > 1 else ''} serve{'' if count > 1 else 's'} it."
        return f"{served} The rest load it; Workers in the console tell how far they are." if self.waiting else served


def last_words() -> Mapping[str, datetime.datetime]:
    """When each live worker was last heard of; asked before a move, by the workers' own clock."""
    return dict(live_workers().values_list("name", "last_seen"))


def rollout(version: ModelVersion, before: Mapping[str, datetime.datetime]) -> Rollout:
    """What the live workers say of the version; one that has said nothing since ``last_words`` is waited for."""
    serving = waiting = 0
    refusals = []
    for worker in live_workers():
        is_news = worker.last_seen != before.get(worker.name)
        held = {each["version"]: each for each in worker.versions} if is_news else {}
        told = held.get(str(version))
        if told is not None and told["state"] == "refused":
            refusals.append((worker.name, told["reason"]))
        elif told is not None and told["state"] == "serving":
            serving += 1
        else:
            waiting += 1
    return Rollout(serving, waiting, refusals)
