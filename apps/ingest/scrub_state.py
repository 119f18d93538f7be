"""The position of a scrub, kept in the storage that it checks, so that any machine can continue it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from apps.studies.spool import open_spool
from apps.studies.storage import delete_object, object_store, read_bytes

_KEY = "scrub/place.json"


@dataclass
class Tally:
    """The numbers of what was found so far."""

    objects: int = 0
    hashed: int = 0
    damaged: int = 0
    missing: int = 0
    orphans: int = 0
    repaired: int = 0

    @property
    def unrepaired(self) -> int:
        return self.damaged + self.missing + self.orphans - self.repaired

    def __str__(self) -> str:
        return (
            f"{self.objects} objects, {self.hashed} of them hashed; {self.damaged} damaged, {self.missing} missing, "
            f"{self.orphans} without a row; {self.repaired} of these repaired."
        )


@dataclass
class ScrubPosition:
    """Where a run with these options stopped: the tenant's objects up to the key ``after`` are done."""

    options: dict[str, Any]
    tenant: str = ""
    after: str = ""
    tally: Tally = field(default_factory=Tally)


def load_position(options: dict[str, Any], *, restart: bool = False) -> ScrubPosition:
    """The position where the last run with the same options stopped, or the beginning.

    Raises:
        UnavailableError: the storage did not answer.
    """
    if restart:
        return ScrubPosition(options)
    try:
        kept = json.loads(read_bytes(_KEY))
        if kept["options"] == options:
            return ScrubPosition(options, kept["tenant"], kept["after"], Tally(**kept["tally"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return ScrubPosition(options)


def save_position(position: ScrubPosition) -> None:
    with open_spool() as spool:
        object_store().put(_KEY, spool.write(json.dumps(asdict(position)).encode()).path)


def clear_position() -> None:
    delete_object(_KEY)
