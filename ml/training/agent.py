"""torch's elastic agent of one node, as a process: `python -m ml.training.agent OUT/run.json SETTINGS` (JSON).

It supervises the ranks, and ends with its launcher. How its ranks ended goes to `result.json` in the node's logs; an
agent that leaves none was lost.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from ml.training.addresses import accepts, core_count, interfaces, visible_gpus
from ml.training.nodes import Nodes
from ml.training.processes import TrainingFailed
from ml.training.rendezvous import Endpoint, not_met, reach

RESULT = "result.json"
_STORE_SECONDS = 60


def main(run: str, settings: str) -> None:
    """Run the ranks to their end. Raises what torch raises when the rendezvous itself is lost."""
    given = json.loads(settings)
    threading.Thread(target=_end_with_launcher, args=(given["launcher"],), daemon=True, name="launcher").start()
    nodes, logs = Nodes(**given["nodes"]), Path(given["logs"])
    try:
        endpoint = reach(str(nodes.rdzv_endpoint), nodes.join_timeout)
    except (TrainingFailed, ValueError) as error:
        ended = False, str(error)
    else:
        _set_environment(nodes, endpoint, given["local_index"], given["local_nodes"])
        _check_store(nodes, endpoint, logs / RESULT)
        is_chief_node = endpoint.is_here and given["local_index"] == 0
        arguments = run, nodes.join_timeout, given["launched"], is_chief_node
        ended = _run_ranks(nodes, endpoint, logs, arguments)
    _write_result(logs / RESULT, *ended)


def _set_environment(nodes: Nodes, endpoint: Endpoint, number: int, local_nodes: int) -> None:
    """What all ranks inherit: their share of the cores and GPUs, and the interface of the announced address."""
    ranks = nodes.nproc_per_node
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, core_count() // (local_nodes * ranks))))
    # A store for each generation of ranks: keys of the former one would be taken for answers.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    gpus = visible_gpus() if local_nodes > 1 else []
    if len(gpus) >= local_nodes * ranks:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[number * ranks :][:ranks])
    known = {address: name for name, address in interfaces().items()}
    interface = "lo" if endpoint.announced.startswith("127.") else known.get(endpoint.announced)
    if interface and sys.platform.startswith("linux"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def _check_store(nodes: Nodes, endpoint: Endpoint, result: Path) -> None:
    """Let SIGALRM end this process where another program has the port: torch would wait for its answer for ever."""
    import torch.distributed as dist

    if not accepts(endpoint.store_address, endpoint.port):
        return
    why = f"Port {endpoint.port} of {endpoint.host} is taken by another program. Choose another one in --rdzv-endpoint"
    _write_result(result, False, f"{why}, on all nodes.")
    timeout = min(_STORE_SECONDS, round(nodes.join_timeout))
    signal.alarm(timeout)
    # A store that ends meanwhile is for the rendezvous to report.
    with contextlib.suppress(RuntimeError):
        store = dist.TCPStore(  # type: ignore[attr-defined]
            endpoint.store_address, endpoint.port, None, False, timedelta(seconds=timeout), wait_for_workers=False
        )
        store.check(["x"])
    signal.alarm(0)
    result.unlink()


def _run_ranks(
    nodes: Nodes, endpoint: Endpoint, logs: Path, arguments: tuple[str, float, float, bool]
) -> tuple[bool, str]:
    """The elastic agent: whether the chief is one of its ranks, and why they failed."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousTimeoutError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The ranks of all generations are forked from one process, which has imported what takes seconds (torch.optim needs
    # torch._dynamo) and has not touched CUDA.
    multiprocessing.set_forkserver_preload(["ml.training.rank", "torch._dynamo", "timm"])
    rendezvous: dict[str, Any] = {"join_timeout": round(nodes.join_timeout), "last_call_timeout": 5}
    rendezvous |= {"keep_alive_interval": max(1, round(nodes.silence_timeout / 3)), "keep_alive_max_attempt": 3}
    if not endpoint.is_here:
        # On its own host any node may host the store: torch tries it in each, and the first one succeeds.
        rendezvous["is_host"] = 0
    config = LaunchConfig(
        nodes.minimum, nodes.maximum, nodes.nproc_per_node, DefaultLogsSpecs(str(logs / "elastic")), nodes.rdzv_id,
        rdzv_backend="c10d", rdzv_endpoint=f"{endpoint.store_address}:{endpoint.port}", rdzv_configs=rendezvous,
        max_restarts=nodes.max_restarts, monitor_interval=0.3, local_addr=endpoint.announced,
        start_method="forkserver" if sys.platform.startswith("linux") else "spawn",
    )  # fmt: skip
    try:
        ended = elastic_launch(config, run_rank)(*arguments).values()
    except RendezvousTimeoutError:
        return False, not_met(endpoint, nodes.minimum, nodes.join_timeout)
    except ChildFailedError as error:
        message: Any = error.get_first_failure()[1].message
        text = str(message["message"] if isinstance(message, dict) else message)
        return arguments[-1], nodes.no_restarts_left(text.strip().partition("\n")[0], logs)
    return any(is_chief for is_chief, _ in ended), next((reason for _, reason in ended if reason), "")


def run_rank(run: str, join_timeout: float, launched: float, is_chief_node: bool) -> tuple[bool, str]:
    """A rank, in a process of its own: whether it is the chief, and why all ranks failed."""
    threading.Thread(target=_end_with_agent, daemon=True, name="agent").start()
    from torch.distributed.elastic.multiprocessing.errors import record

    from ml.training.rank import Rank

    try:
        return record(Rank(Path(run), join_timeout, launched, is_chief_node).run)() or (False, "")
    except BaseException:
        traceback.print_exc()
        # Threads of a broken process group may hang in their destructors.
        os._exit(1)


def _write_result(path: Path, is_chief: bool, reason: str) -> None:
    path.write_text(json.dumps({"is_chief": is_chief, "reason": reason}))


def _end_with_launcher(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(0.2)
    os._exit(1)


def _end_with_agent() -> None:
    # An orphaned rank would go on writing beside its successor.
    agent = multiprocessing.parent_process()
    if agent:
        agent.join()
        os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
