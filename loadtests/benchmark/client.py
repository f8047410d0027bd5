"""The clients: programs that replay the heads that were verified, and what they counted.

wrk is the one that everything is measured with. The timed workloads are measured with a second (see `saturate`).
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark import results
from tests.harness.peers import placed

SCRIPT = Path(__file__).with_name("replay.lua")
# The fields of the JSON line that count what went wrong on the way.
ERRORS = ("connect_errors", "read_errors", "write_errors", "timeouts")


class ClientError(Exception):
    """A client is missing, failed, or did not count what it should have."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a client is to do."""

    heads: Path
    connections: int
    depth: int = 1
    counted: bool = False
    threads: int = 1  # of wrk
    closing: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What a client did."""

    requests: int
    seconds: float
    octets: int
    p50_us: float
    p99_us: float
    refused: int  # answers with a status of 400 or more
    errors: int
    busy: float  # processor seconds the client used

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def find() -> str:
    """The path of wrk, or a sentence about how to get it."""
    path = shutil.which("wrk")
    if path is None:
        raise ClientError("wrk is missing: it sends the requests (Debian: apt install wrk)")
    return path


def version() -> str:
    """The version wrk prints, "" when it prints none."""
    done = subprocess.run([find(), "-v"], capture_output=True, text=True, check=False)
    words = (done.stdout + done.stderr).split()
    return words[1] if len(words) > 1 else ""


def wrk_command(url: str, load: Load, seconds: float) -> list[str]:
    return [
        *(find(), f"-t{load.threads}", f"-c{load.connections}", f"-d{seconds:.0f}s"),
        *("--timeout", "30s", "-s", str(SCRIPT), url, "--"),
        *(str(load.heads), str(load.depth), "1" if load.counted else "0"),
    ]


@dataclass(frozen=True, slots=True)
class Client:
    """A program that sends a load, and prints last what it counted, as replay.lua does."""

    name: str
    command: Callable[[str, Load, float], list[str]]  # for a URL, a load, and so many seconds


WRK = Client(results.WRK, wrk_command)


@dataclass(frozen=True, slots=True)
class Started:
    """A client while it runs."""

    name: str
    process: subprocess.Popen[str]
    before: float  # processor time of the children that had ended when it began


def run(
    url: str, load: Load, seconds: float, cpus: Collection[int] | None, client: Client = WRK
) -> Counted:
    """Sends `load` to `url` for so many seconds."""
    return finish(start(url, load, seconds, cpus, client))


def start(
    url: str, load: Load, seconds: float, cpus: Collection[int] | None, client: Client = WRK
) -> Started:
    command = client.command(url, load, seconds)
    before = children_seconds()
    with placed(cpus):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    return Started(client.name, process, before)


def finish(started: Started) -> Counted:
    """Waits for the client to end; what it counted."""
    output, complaint = started.process.communicate()
    if started.process.returncode != 0:
        raise ClientError(
            f"{started.name} ended with status {started.process.returncode}: {complaint.strip()}"
        )
    return parse(output, children_seconds() - started.before, started.name)


def children_seconds() -> float:
    """Processor time of all children that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def parse(output: str, busy: float, name: str = results.WRK) -> Counted:
    """What the last line of the client's output says."""
    lines = output.strip().splitlines()
    try:
        said = json.loads(lines[-1])
        return Counted(
            requests=said["requests"],
            seconds=said["seconds"],
            octets=said["octets"],
            p50_us=said["p50_us"],
            p99_us=said["p99_us"],
            refused=said["refused"],
            errors=sum(said[name] for name in ERRORS),
            busy=busy,
        )
    except (IndexError, KeyError, ValueError) as error:
        raise ClientError(f"{name}'s output is not understood: {output[-200:]!r}") from error


def check(counted: Counted, status: int) -> None:
    """ClientError unless every answer counted was one of `status`, and none was lost."""
    if counted.requests == 0:
        raise ClientError("no request was answered")
    if counted.errors:
        raise ClientError(f"{counted.errors} requests failed on the way")
    expected = counted.requests if status >= 400 else 0
    if counted.refused != expected:
        raise ClientError(
            f"{counted.refused} of {counted.requests} answers had a status of 400 or more"
        )
