"""Compare C-STORE of 1 MB instances: our DIMSE listener and DCMTK's storescp, in alternating rounds.

    python -m benchmarks.dimse [--images 100] [--turns 3] [--half-open 200]

Prints images/s of both and their ratio; our images/s while other connections stay half-open or send one byte per
second; and the time of a C-ECHO meanwhile. Needs Debian's `dcmtk`. storescp only writes files into a folder; our
listener stores, indexes and queues.
"""

import argparse
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil

from benchmarks.images import image_bytes
from benchmarks.stack import cpu_seconds, free_port, running_stack


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise SystemExit(f"{name} is missing: apt-get install dcmtk")
    return found


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"Nothing listens on port {port}.")


@contextmanager
def running_storescp(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([program("storescp"), "-od", str(folder), "-pdu", "131072", str(port)])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def send(port: int, called: str, folder: Path) -> float:
    """Seconds that storescu takes to send a folder, including its start."""
    started = time.perf_counter()
    command = [program("storescu"), "-aec", called, "+sd", "127.0.0.1", str(port), str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def echo(port: int) -> float:
    started = time.perf_counter()
    subprocess.run([program("echoscu"), "-aec", "NORTH", "127.0.0.1", str(port)], check=True)
    return time.perf_counter() - started


def write_images(folder: Path, count: int, run: str) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.dcm").write_bytes(image_bytes(number, run))


@contextmanager
def attackers(port: int, count: int) -> Iterator[None]:
    """Open connections of which half send nothing and half one byte per second; closed ones are opened again."""
    ending = threading.Event()

    def attack() -> None:
        open_now: list[socket.socket] = []
        while not ending.wait(1):
            for each in list(open_now[: len(open_now) // 2]):
                try:
                    each.sendall(b"\x01")
                except OSError:
                    open_now.remove(each)
                    each.close()
            while len(open_now) < count:
                open_now.append(socket.create_connection(("127.0.0.1", port), 5))
        for each in open_now:
            each.close()

    thread = threading.Thread(target=attack)
    thread.start()
    time.sleep(2)
    try:
        yield
    finally:
        ending.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--half-open", type=int, default=200)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch, running_stack(("dimse",), DIMSE_PORT=str(port)) as stack:
        wait_for(port)
        received = Path(scratch) / "received"
        received.mkdir()
        with running_storescp(received) as other:
            ours, theirs, attacked = [], [], []
            spent = 0.0
            for turn in range(-1, options.turns):
                for name, port_of, times in (("a", port, ours), ("b", other, theirs)):
                    folder = Path(scratch) / f"{name}{turn}"
                    write_images(folder, options.images if turn >= 0 else 8, folder.name)
                    before = cpu_seconds(stack.processes["dimse"])
                    seconds = send(port_of, "NORTH", folder)
                    shutil.rmtree(folder)
                    if turn >= 0:
                        times.append(seconds)
                        spent += cpu_seconds(stack.processes["dimse"]) - before
        resident = psutil.Process(stack.processes["dimse"].pid).memory_info().rss
        with attackers(port, options.half_open):
            folder = Path(scratch) / "attacked"
            write_images(folder, options.images, folder.name)
            attacked.append(send(port, "NORTH", folder))
            echoes = [echo(port) for _ in range(10)]
        grown = psutil.Process(stack.processes["dimse"].pid).memory_info().rss - resident
    rate = {name: options.images / median(times) for name, times in
            (("ours", ours), ("storescp", theirs), ("attacked", attacked))}  # fmt: skip
    print(f"listener   {rate['ours']:6.1f} images/s   {[round(each, 2) for each in ours]}")
    print(f"           {1000 * spent / (options.images * options.turns):6.1f} CPU-ms of its process for an image")
    print(f"storescp   {rate['storescp']:6.1f} images/s   ratio {rate['ours'] / rate['storescp']:.2f}")
    print(f"attacked   {rate['attacked']:6.1f} images/s   ratio to itself {rate['attacked'] / rate['ours']:.2f}")
    print(
        f"C-ECHO meanwhile: median {median(echoes):.3f} s, worst {max(echoes):.3f} s; memory +{grown / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
