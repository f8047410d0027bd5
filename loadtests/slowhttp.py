"""slowhttptest's four attacks, and an honest client beside each: its latency alone, and meanwhile.

    python -m loadtests.slowhttp --connections 4000 --json FILE

starts a server of our own; `measure` asks any that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.harness.server import Server

PROGRAM: Final = "slowhttptest"
# How each attack is asked for, and what for: a large file where the answer is what is slow.
ATTACKS: Final[dict[str, tuple[str, ...]]] = {
    "slow heads": ("-H", "-i", "5", "-x", "24", "-u", "{url}/small"),
    "slow content": ("-B", "-i", "5", "-s", "8192", "-u", "{url}/small"),
    "ranges": ("-R", "-a", "5", "-b", "3000", "-u", "{url}/large"),
    "slow readers": (
        *("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"),
        *("-u", "{url}/large"),
    ),
}
RATE: Final = 1000  # connections begun per second
PAUSE: Final = 0.005  # seconds between two requests of the honest client
PATIENCE: Final = 10.0  # seconds that it waits for an answer
REQUEST: Final = b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_AVAILABLE: Final = re.compile(r"service available:(?:\s|\x1b\[[0-9;]*m)*(YES|NO)")


@dataclass(frozen=True, slots=True)
class Latency:
    """What the honest client met; in milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Row:
    """One attack."""

    attack: str
    connections: int
    alone: Latency
    beside: Latency
    available: bool  # by the attacker's own probe


def installed() -> bool:
    """Whether the attacker is there: Debian has it as slowhttptest."""
    return shutil.which(PROGRAM) is not None


def latency(port: int, seconds: float) -> Latency:
    """Ask on fresh connections for so long."""
    times: list[float] = []
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            heard = ask(port)
        except OSError:
            heard = b""
        if heard.startswith(b"HTTP/1.1 200 "):
            times.append(1000 * (time.monotonic() - begun))
        else:
            failed += 1
        time.sleep(PAUSE)
    return summary(times, failed)


def ask(port: int) -> bytes:
    """One answer."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(REQUEST)
        while more := client.recv(65536):
            heard += more
    return heard


def summary(times: Sequence[float], failed: int) -> Latency:
    """The figures of these times, in milliseconds."""
    ordered = sorted(times) or [0.0]

    def share(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3)

    return Latency(len(times), failed, share(0.5), share(0.99), round(ordered[-1], 3))


def command(attack: str, port: int, connections: int, seconds: float) -> list[str]:
    """The attacker's command line."""
    words = [word.format(url=f"http://127.0.0.1:{port}") for word in ATTACKS[attack]]
    many = ["-c", str(connections), "-r", str(RATE), "-l", str(round(seconds)), "-p", "3"]
    return [PROGRAM, *many, *words]


def was_available(output: str) -> bool:
    """Whether the attacker's probes were answered all the time, by what it printed."""
    found = _AVAILABLE.findall(output)
    return bool(found) and "NO" not in found


def measure(port: int, connections: int, seconds: float) -> Iterator[Row]:
    """Each attack in turn; the honest client asks for `seconds`, while all connections are there."""
    for attack in ATTACKS:
        alone = latency(port, seconds)
        ramp = connections / RATE
        line = command(attack, port, connections, ramp + seconds + 1)
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as attacking:
            try:
                time.sleep(ramp)
                beside = latency(port, seconds)
                output, _ = attacking.communicate(timeout=seconds + 30)
            finally:
                attacking.kill()
        yield Row(attack, connections, alone, beside, was_available(output))


@contextmanager
def served(workers: int) -> Iterator[Server]:
    """A server of our own, with the two files."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "small").write_bytes(b"hello\n")
        (root / "large").write_bytes(bytes(16 << 20))
        for path in root.iterdir():
            os.utime(path, (1_000_000_000, 1_000_000_000))
        with Server(root, "--workers", str(workers), "--access-log", "off") as server:
            yield server


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="loadtests.slowhttp", description=__doc__)
    parser.add_argument("--connections", type=int, default=4000, help="of the attacker (4000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure (10)")
    parser.add_argument("--workers", type=int, default=2, help="of the server (2)")
    parser.add_argument("--port", type=int, help="ask this server instead of one of our own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures here")
    options = parser.parse_args()
    if not installed():
        print(f"{PROGRAM} is not installed: nothing was measured", file=sys.stderr)
        return 0
    if options.port is not None:
        return show(measure(options.port, options.connections, options.seconds), options.json)
    with served(options.workers) as server:
        return show(measure(server.port, options.connections, options.seconds), options.json)


def show(measured: Iterator[Row], json_file: Path | None) -> int:
    """Print each row when it is there, and keep them all."""
    rows = []
    for row in measured:
        rows.append(asdict(row))
        print(
            f"{row.attack:14} p99 alone {row.alone.p99:8.3f} ms, beside {row.beside.p99:8.3f} ms, "
            f"failed {row.beside.failed} of {row.beside.requests + row.beside.failed}, "
            f"available: {'yes' if row.available else 'no'}",
            flush=True,
        )
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
