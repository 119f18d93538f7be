"""Where the nodes meet (torch's rendezvous endpoint), as this machine sees it. Imports no torch."""

import time
from dataclasses import dataclass

from ml.training.addresses import accepts, interfaces, is_local, is_loopback, outward_address, own_address, resolved
from ml.training.processes import TrainingFailed

DEFAULT_PORT = 29400
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Endpoint:
    """The rendezvous endpoint, and how this machine takes part.

    Attributes:
        host: as the user gave it.
        port: of the store that all elastic agents use.
        address: of the host.
        is_here: whether the endpoint is this machine, whose agent then hosts the store.
        announced: the address of this machine that it gives to the other nodes.
    """

    host: str
    port: int
    address: str
    is_here: bool
    announced: str

    @property
    def store_address(self) -> str:
        """Where this machine's agent connects to the store."""
        return "127.0.0.1" if self.is_here else self.address

    def __str__(self) -> str:
        where = f"{self.host}:{self.port}"
        return where if self.address == self.host else f"{where} ({self.address})"


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """HOST:PORT -> (host, port). Raises ValueError."""
    host, _, port = endpoint.rpartition(":")
    if not host:
        host, port = endpoint, str(DEFAULT_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--rdzv-endpoint is HOST:PORT, such as trainer-1:{DEFAULT_PORT}, not {endpoint!r}.")
    return host.strip("[]"), int(port)


def find_endpoint(endpoint: str) -> Endpoint | None:
    """The endpoint as this machine sees it now; None if the host's name has no address.

    Many systems give their own name the address 127.0.1.1 in /etc/hosts. Other machines can't use that one, so the
    address of the network interface is announced instead. Raises ValueError where it can't be chosen.
    """
    host, port = split_endpoint(endpoint)
    address = resolved(host)
    if address is None:
        return None
    if not is_local(address):
        return Endpoint(host, port, address, False, own_address(address) or address)
    if not is_loopback(address) or host in ("localhost", address):
        return Endpoint(host, port, address, True, address)
    announced = outward_address()
    if announced is None and interfaces():
        raise ValueError(
            f"{host} is {address} on this machine, which other machines can't reach, and it has several addresses: "
            f"{', '.join(interfaces().values())}. Give --rdzv-endpoint the one that joins the nodes, with :{port}."
        )
    return Endpoint(host, port, address, True, announced or address)


def is_local_endpoint(endpoint: str) -> bool:
    """Whether the endpoint is this machine. Raises ValueError."""
    address = resolved(split_endpoint(endpoint)[0])
    return address is not None and is_local(address)


def reach(endpoint: str, timeout: float) -> Endpoint:
    """The endpoint, as soon as this machine can connect to it; on its own host, as soon as its name is known.

    In a cluster that is just starting, names come after machines, and the endpoint's agent may come last.

    Raises:
        TrainingFailed: not within `timeout` seconds; the message names the address.
        ValueError: this machine has several addresses and can't choose.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = find_endpoint(endpoint)
        if found and (found.is_here or accepts(found.address, found.port)):
            return found
        if time.monotonic() > deadline:
            break
        time.sleep(_RETRY_SECONDS)
    if found is None:
        raise TrainingFailed(
            f"The host of --rdzv-endpoint {endpoint} is unknown here. Correct the name, or give its address."
        )
    raise TrainingFailed(
        f"{found} could not be reached from {found.announced} within {timeout:.0f} s. Start the same command on "
        f"{found.host}, and let firewalls pass between the nodes."
    )


def not_met(endpoint: Endpoint, minimum: int, timeout: float) -> str:
    """Why the nodes did not meet at an endpoint that this machine reaches."""
    text = f"The nodes did not meet at {endpoint} within {timeout:.0f} s. "
    if is_loopback(endpoint.announced):
        return text + (
            f"{endpoint.address} is this machine's own address on every machine: give --rdzv-endpoint the address of "
            "the first node in the network that joins them."
        )
    return text + (
        f"Start the same command on all {minimum} of them, with the same --nnodes and --rdzv-endpoint. This node "
        f"announced {endpoint.announced}: the others must reach it there."
    )
