"""Which machines train together, and how they find each other. Imports no torch."""

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.training.addresses import visible_gpus
from ml.training.rendezvous import split_endpoint

HOSTS_VARIABLE = "TRAINING_HOSTS"
_COUNT = re.compile(r"([1-9]\d{0,3})(?::([1-9]\d{0,3}))?")


@dataclass(frozen=True)
class Nodes:
    """How many nodes, with how many ranks each, and their rendezvous.

    With `rdzv_endpoint` this machine is one of them; with `hosts` the others are started over ssh; with neither, all
    nodes are processes of this machine. `join_timeout` is how long nodes wait for each other, in seconds; a node that
    is silent for `silence_timeout` seconds no longer counts as there.
    """

    minimum: int = 1
    maximum: int = 1
    nproc_per_node: int = 1
    rdzv_endpoint: str | None = None
    hosts: tuple[str, ...] = ()
    max_restarts: int = 3
    rdzv_id: str = "checxray"
    join_timeout: float = 600.0
    silence_timeout: float = 15.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise ValueError(f"--nnodes {self.minimum}:{self.maximum}: the first number must not be the larger one.")
        if self.rdzv_endpoint is not None:
            split_endpoint(self.rdzv_endpoint)
        if any(not host or host.startswith("-") for host in self.hosts):
            raise ValueError(f"{HOSTS_VARIABLE} is a list of host names, separated by commas.")

    @classmethod
    def parse(
        cls,
        nnodes: str,
        *,
        nproc_per_node: int | None = None,
        rdzv_endpoint: str | None = None,
        rdzv_id: str | None = None,
        device: str = "auto",
        environment: Mapping[str, str] | None = None,
        **others: Any,
    ) -> "Nodes":
        """From the options: `nnodes` is "3" or "2:3"; ranks per node default to the GPUs, else one.

        TRAINING_HOSTS in the environment names the machines, unless an endpoint is given. `others` are further fields.
        Raises ValueError.
        """
        found = _COUNT.fullmatch(nnodes.strip())
        if not found:
            raise ValueError(f"--nnodes is a number, or MINIMUM:MAXIMUM such as 2:3, not {nnodes!r}.")
        minimum, maximum = int(found[1]), int(found[2] or found[1])
        environment = os.environ if environment is None else environment
        listed = tuple(host.strip() for host in environment.get(HOSTS_VARIABLE, "").split(",") if host.strip())
        hosts = () if rdzv_endpoint else listed
        if hosts and not minimum <= len(hosts) <= maximum:
            raise ValueError(f"{HOSTS_VARIABLE} names {len(hosts)} machines, but --nnodes says {nnodes}.")
        if nproc_per_node is None:
            nproc_per_node = max(1, len(visible_gpus())) if device != "cpu" else 1
            if not hosts and not rdzv_endpoint:
                # The nodes of one machine share its GPUs.
                nproc_per_node = max(1, nproc_per_node // maximum)
        # Machines that are started by hand must agree on the id of their rendezvous; otherwise a random one is safer.
        rdzv_id = rdzv_id or ("checxray" if rdzv_endpoint else f"checxray-{uuid.uuid4().hex[:12]}")
        return cls(minimum, maximum, nproc_per_node, rdzv_endpoint, hosts, rdzv_id=rdzv_id, **others)

    def no_restarts_left(self, reason: str, logs: Path) -> str:
        """The message when no restarts are left."""
        return (
            f"The training broke off and was restarted {self.max_restarts} times: {reason.rstrip('.')}. See "
            f"{logs / 'agent.log'}; the same command resumes it."
        )
