"""Time every filter, order, search and page of the lists of studies in a database of many studies.

    python -m benchmarks.scale [--studies 100000] [--large 20000] [--tenants 20] [--unsigned 2000] [--home DIR]

Seeds the studies by SQL: one tenant has ``--large`` of them with fourteen findings each, the others share the rest.
Then it reads each list of that tenant several times in this process under the role of the web processes and with
row-level security, as portal, REST and DICOMweb do, and prints one table: the rows of the page, the median and the 95th
percentile, the CPU time of this process and of PostgreSQL, which other programs of the computer change little, and what
PostgreSQL took for the statements (EXPLAIN ANALYZE), with the scans of those over the target. The whole is 1,000,000
studies of 100 tenants, 100,000 of them in one: ``--studies 1000000 --large 100000 --tenants 100``; the limit is 500 ms
for each list, and the target 200 ms at the 95th percentile. A wildcard at the beginning of a name is only reported.
With ``--unsigned 100000`` that tenant signs nothing here. ``--home`` keeps the database in a folder, so that another
call reads the same lists again.

At last it compares what QIDO-RS costs a small tenant before and after all others are there: at most 1.5 times as much.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

LIMIT_MS, TARGET_MS = 500, 200
Lists = dict[str, Callable[[], Sized]]


@dataclass(frozen=True)
class Timing:
    """Of one list, in ms. ``cpu`` is that of this process and of PostgreSQL, which other processes do not change.

    ``scans`` are those of the slowest statement, shown where the list is over the target.
    """

    interface: str
    list: str
    rows: int
    median: float
    p95: float
    cpu: float
    database: float
    scans: str

    def __str__(self) -> str:
        mark = "MISSED" if self.p95 > LIMIT_MS else "over" if self.p95 > TARGET_MS else ""
        figures = "".join(f"{each:9.1f}" for each in (self.median, self.p95, self.cpu, self.database))
        return f"{self.interface:<9} {self.list:<44} {self.rows:5}{figures}  {mark:<6} " + (self.scans if mark else "")


HEADER = f"{'':<9} {'filter, order or page':<44} {'rows':>5}{'median':>9}{'p95':>9}{'CPU':>9}{'database':>9}  (ms)"


def time_lists(tenant_id: UUID, lists: Lists, rounds: int) -> list[Timing]:
    """Read each list several times, each in a transaction of its own."""
    from apps.tenants.scope import tenant_tx

    found = []
    print(HEADER)
    for name, read in lists.items():
        times, cpu = [], []
        with tenant_tx(tenant_id):
            rows = len(read())
        for _ in range(rounds):
            started, spent = time.perf_counter(), _cpu_seconds()
            with tenant_tx(tenant_id):
                read()
            times.append(1000 * (time.perf_counter() - started))
            cpu.append(1000 * (_cpu_seconds() - spent))
        database, scans = _explained(tenant_id, read)
        interface, _, what = name.partition(" ")
        p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
        found.append(
            Timing(interface, what, rows, statistics.median(times), p95, statistics.median(cpu), database, scans)
        )
        print(found[-1], flush=True)
    return found


def _cpu_seconds() -> float:
    """What this process and the server's process of its connection have computed so far."""
    from django.db import connection

    connection.ensure_connection()
    backend = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    server = int(backend.read_text().split()[0]) / 1e9 if backend.exists() else 0.0
    return time.process_time() + server


def _explained(tenant_id: UUID, read: Callable[[], object]) -> tuple[float, str]:
    """What PostgreSQL took for all statements of a list, and the scans of the slowest."""
    from django.db import connection

    from apps.tenants.scope import tenant_tx

    statements: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            statements.append((sql, params))
        return execute(sql, params, many, context)

    with tenant_tx(tenant_id), connection.execute_wrapper(note):
        read()
    total, slowest, scans = 0.0, 0.0, ""
    with tenant_tx(tenant_id), connection.cursor() as cursor:
        for sql, params in statements:
            cursor.execute(f"explain (analyze, timing off, format json) {sql}", params)
            ((answer,),) = cursor.fetchall()
            taken = answer[0]["Execution Time"] + answer[0]["Planning Time"]
            total += taken
            if taken > slowest:
                slowest, scans = taken, "; ".join(_scans(answer[0]["Plan"]))
    return total, scans


def _scans(node: dict[str, Any]) -> list[str]:
    found = [each for child in node.get("Plans", []) for each in _scans(child)]
    if "Sort" in node["Node Type"]:
        return [*found, node["Node Type"]]
    if "Scan" not in node["Node Type"]:
        return found
    removed = node.get("Rows Removed by Filter", 0)
    name = node.get("Index Name") or node.get("Relation Name", "")
    loops = f" {node['Actual Loops']} times" if node["Actual Loops"] > 1 else ""
    return [
        *found,
        f"{node['Node Type']} {name}: {node['Actual Rows']:.0f} of {node['Actual Rows'] + removed:.0f}{loops}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=20_000)
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--unsigned", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only", default="", help="only the lists with this text in their names")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        home = chosen.home or stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {"CHECXRAY_HOME": str(home), "DJANGO_SETTINGS_MODULE": "config.settings.embedded"}
        import django

        django.setup()
        run(chosen)


def run(chosen: argparse.Namespace) -> None:
    from django.core.management import call_command

    from apps.accounts.models import User
    from apps.tenants.models import Tenant
    from apps.tenants.scope import tenant_tx
    from benchmarks.scale_lists import portal_lists, qido_lists, rest_lists
    from benchmarks.scale_seed import seed_tenants
    from config.embedded import running_services

    def time_qido(slug: str, number: int) -> dict[str, float]:
        """The CPU time of each search in a tenant; ``number`` is its place in the call that seeded it."""
        wanted = {name: read for name, read in qido_lists(number).items() if chosen.only in name}
        found = time_lists(Tenant.objects.get(slug=slug).pk, wanted, chosen.rounds)
        return {each.list: each.cpu for each in found}

    with running_services():
        call_command("migrate", verbosity=0)
        alone = Path(os.environ["CHECXRAY_HOME"]) / "alone.json"
        others = chosen.tenants - 1
        shared = max(chosen.studies - chosen.large, 0) // max(others, 1)
        if not Tenant.objects.filter(slug="t0").exists():
            seed_tenants({"alone": shared}, unsigned=chosen.unsigned)
            print(f"QIDO-RS in a tenant of {shared} studies that is alone")
            alone.write_text(json.dumps(time_qido("alone", 0)))
            seed_tenants(
                {"t0": chosen.large} | {f"t{number + 1}": shared for number in range(others)}, unsigned=chosen.unsigned
            )
        tenant, user = Tenant.objects.get(slug="t0"), User.objects.get(email="reader@example.org")
        with tenant_tx(tenant.pk):
            lists: Lists = {**portal_lists(user.pk), **rest_lists(), **qido_lists(0)}
        print("All lists of the large tenant")
        found = time_lists(
            tenant.pk, {name: read for name, read in lists.items() if chosen.only in name}, chosen.rounds
        )
        for limit in (TARGET_MS, LIMIT_MS):
            for measure in ("p95", "cpu"):
                slow = [f"{each.interface} {each.list}" for each in found if getattr(each, measure) > limit]
                print(f"{measure} over {limit} ms: {len(slow)} of {len(found)} lists", *slow, sep="\n    ")
        print(f"QIDO-RS in a tenant of {shared} studies beside the others")
        before, after = json.loads(alone.read_text()), time_qido("t1", 1)
        for name in sorted(before.keys() & after.keys(), key=lambda each: -after[each] / before[each]):
            print(
                f"{name:<44} CPU {before[name]:7.1f} ms alone {after[name]:7.1f} ms  {after[name] / before[name]:5.2f}"
            )
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
