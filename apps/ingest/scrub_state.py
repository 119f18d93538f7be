"""How far a scrub has come, kept in the storage that it scrubs: any machine may go on with it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from apps.studies.spool import open_spool
from apps.studies.storage import delete_object, object_store, read_bytes

_KEY = "scrub/place.json"


@dataclass
class Tally:
    """What was found so far."""

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
class Place:
    """Where a run with these options stopped: everything up to the key ``after`` of the tenant is done."""

    options: dict[str, Any]
    tenant: str = ""
    after: str = ""
    tally: Tally = field(default_factory=Tally)


def last_place(options: dict[str, Any], *, restart: bool = False) -> Place:
    """Where the last run with the same options stopped; the beginning where none did.

    Raises:
        UnavailableError: the storage did not answer.
    """
    if restart:
        return Place(options)
    try:
        kept = json.loads(read_bytes(_KEY))
        if kept["options"] == options:
            return Place(options, kept["tenant"], kept["after"], Tally(**kept["tally"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return Place(options)


def keep_place(place: Place) -> None:
    with open_spool() as spool:
        object_store().put(_KEY, spool.write(json.dumps(asdict(place)).encode()).path)


def forget_place() -> None:
    delete_object(_KEY)
