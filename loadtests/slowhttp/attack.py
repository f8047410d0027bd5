"""slowhttptest's four attacks: how each is asked for, and what it has come to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

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
PROBE_LIMIT: Final = 3  # seconds in which the attacker's own probe wants an answer
GRACE: Final = 30.0  # seconds for the attacker to end when its time is over

_AVAILABLE: Final = re.compile(r"service available:(?:\s|\x1b\[[0-9;]*m)*(YES|NO)")


@dataclass(slots=True)
class Attack:
    """One attack under way; what it came to is known when it has ended."""

    available: bool = field(default=False)  # by the attacker's own probe, all the time


def installed() -> bool:
    """Whether the attacker is there: Debian has it as slowhttptest."""
    return shutil.which(PROGRAM) is not None


def ramp(connections: int) -> float:
    """Seconds until all connections are there."""
    return connections / RATE


def command(attack: str, port: int, connections: int, seconds: float) -> list[str]:
    """The attacker's command line: as many connections, held for so long when all are there."""
    words = [word.format(url=f"http://127.0.0.1:{port}") for word in ATTACKS[attack]]
    length = round(ramp(connections) + seconds)
    many = ["-c", str(connections), "-r", str(RATE), "-l", str(length), "-p", str(PROBE_LIMIT)]
    return [PROGRAM, *many, *words]


@contextmanager
def under_attack(line: list[str], seconds: float) -> Iterator[Attack]:
    """The attack `line`, which takes about so many seconds, from its beginning to its end.

    It has the lowest priority: an attacker has a machine of its own, and only what it does to the server is
    to be measured here.
    """
    attack = Attack()
    with tempfile.TemporaryFile("w+") as output:
        attacking = subprocess.Popen(line, stdout=output, stderr=subprocess.DEVNULL)
        try:
            os.setpriority(os.PRIO_PROCESS, attacking.pid, 19)
            yield attack
            attacking.wait(seconds + GRACE)
        finally:
            attacking.kill()
            attacking.wait()
        output.seek(0)
        attack.available = was_available(output.read())


def was_available(output: str) -> bool:
    """Whether the attacker's probes were answered all the time, by what it printed."""
    found = _AVAILABLE.findall(output)
    return bool(found) and "NO" not in found
