"""scripts/soak: every kind of client at once for some minutes, and what the workers have more of at the end."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from loadtests import launch
from loadtests.console import end_in_order
from loadtests.reliability import lasting
from loadtests.verdict import Outcome


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/soak",
        description="The scenario soak of ./scripts/loadtest, and what grew in its course.",
        epilog="Exit status: that of ./scripts/loadtest.",
    )
    add = made.add_argument
    add("-t", "--time", default="4m", metavar="TIME", help="30s, 2m, 1h30m (4m)")
    add("-u", "--users", default="40", metavar="N", help="users at most (40)")
    add("--json", type=Path, metavar="FILE", help="keep the figures here")
    return made


def main() -> int:
    """Soak and print; the exit status."""
    options = parser().parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="mpserve-soak-") as folder:
        record = Path(folder, "record.json")
        status = launch.main(
            ["soak", "-t", options.time, "-u", options.users, "--json", str(record)]
        )
        if not record.exists():
            return status
        said = json.loads(record.read_text(encoding="utf-8"))
    return tell(said, status, options.json)


def tell(said: dict[str, Any], status: int, path: Path | None) -> int:
    """Print what a record comes to, and keep it; the status again."""
    command = ["./scripts/soak", *sys.argv[1:]]
    figures = lasting.soaked(said, Outcome(status).name)
    run = lasting.run_of(command, "Locust, 1 process", figures)
    if path is not None:
        lasting.save(run, path)
    print(lasting.soak_section(run), end="")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
