"""mpserve itself as it is measured: by which interpreter, from which sources, with which settings.

The others are what their distribution built, with all its compiler can do; a Python built for development is
up to a quarter slower than the distribution's. So mpserve runs by that one, where it is recent enough.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from loadtests.benchmark.results import BEFORE, OURS, TRUSTING
from tests.harness import peers

OWN_SLOT = "mpserve-own-slot"  # whose workers poll the sockets of their own slot alone
COUNTED = "-counted"  # ends the name of one whose workers count what accepting takes,
COUNTS = "counts"  # in this file of the run's home

DISTRIBUTIONS = "/usr/bin/python3"
OLDEST = (3, 11)


class KinError(Exception):
    """No mpserve can be made of what was asked for; the text says why."""


def interpreter(asked: str | None) -> str:
    """`asked`, or else the distribution's, or else the one that runs this. Raises KinError."""
    if asked is not None:
        if not is_recent(asked):
            raise KinError(
                f"--python {asked}: this is no Python of {OLDEST[0]}.{OLDEST[1]} or later"
            )
        return asked
    return DISTRIBUTIONS if is_recent(DISTRIBUTIONS) else sys.executable


def is_recent(python: str) -> bool:
    """Whether mpserve runs by it."""
    program = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return (
            subprocess.run([python, "-c", program], capture_output=True, check=False).returncode
            == 0
        )
    except OSError:
        return False


def describe(python: str) -> str:
    """Its version, and which one it is."""
    program = "import platform; print(platform.python_implementation(), platform.python_version())"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    named = (
        f" ({python})" if python == DISTRIBUTIONS else ""
    )  # any other path tells a reader nothing
    return done.stdout.strip() + named


def introduce(python: str, before: str | None, home: Path) -> None:
    """Let `python` run what is called mpserve, and add its kin: that of the commit `before` too, if any."""
    peers.PEERS[OURS] = peers.mpserve_by(python)
    peers.PEERS[TRUSTING] = peers.mpserve_by(python, options=("--cache-valid", "1"))
    peers.PEERS[OWN_SLOT] = polling(python, "own", "-")
    for name, slots in ((OURS, "every"), (OWN_SLOT, "own")):
        peers.PEERS[name + COUNTED] = polling(python, slots, str(home / COUNTS))
    compile_bytecode(python, peers.PROJECT)
    if before is not None:
        source = home / "before"
        source.mkdir()
        check_out(before, source)
        compile_bytecode(python, source)
        peers.PEERS[BEFORE] = peers.mpserve_by(python, source)


def compile_bytecode(python: str, source: Path) -> None:
    """Let the package in `source` start as an installed one does, whose bytecode is there."""
    subprocess.run(
        [python, "-m", "compileall", "-q", str(source / "mpserve")],
        capture_output=True,
        check=False,
    )


def polling(python: str, slots: str, counts: str) -> peers.Recipe:
    """A server made by way of `polling`, with these words for it."""
    return peers.mpserve_by(python, module=("loadtests.benchmark.polling", slots, counts))


def check_out(commit: str, folder: Path) -> None:
    """The package as it was at `commit`. Raises KinError."""
    packed = subprocess.run(
        ["git", "-C", str(peers.PROJECT), "archive", commit, "mpserve"],
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        words = packed.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise KinError(f"--before {commit}: {words[-1]}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
