"""scripts/fuzz: requests that nobody would write, for as long as one likes; one of them again; or trees that change."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path

from loadtests.reliability import lasting
from tests.fuzz.campaign import Campaign, run
from tests.fuzz.races import race
from tests.harness.server import REPOSITORY, Server

FINDINGS = REPOSITORY / "build" / "fuzz"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    made.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    made.add_argument("--seed", type=int, default=0, help="other numbers, other cases (0)")
    made.add_argument("--case", type=int, help="this case alone")
    made.add_argument(
        "--races",
        action="store_true",
        help="each way to open a path, for so long, while links take its place",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="keep the result here")
    return made


def fill(root: Path) -> None:
    """What is served."""
    (root / "dir").mkdir()
    (root / "hello.txt").write_bytes(b"hello\n")
    (root / "big").write_bytes(b"0123456789abcdef" * 8192)  # 128 KiB
    for name in ("hello.txt", "big"):
        os.utime(root / name, (1_000_000_000, 1_000_000_000))


def fuzz(seconds: float, seed: int, case: int | None = None) -> Campaign:
    """A campaign against a server of its own."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        fill(root)
        with Server(root, "--workers", "1", "--access-log", "off", "--listing") as server:
            numbers = itertools.count() if case is None else iter([case])
            return run(server, seed, numbers, seconds)


def main() -> int:
    """The exit status: 1 if anything was found."""
    options = parser().parse_args()
    if options.races:
        return 0 if race(options.seconds) else 1
    campaign = fuzz(options.seconds, options.seed, options.case)
    for finding in campaign.findings:
        print(f"case {finding.number}: {finding.what}")
        if finding.octets:
            FINDINGS.mkdir(parents=True, exist_ok=True)
            name = f"{campaign.seed}-{finding.number}.http"
            (FINDINGS / name).write_bytes(finding.octets)
            print(f"  its octets: {FINDINGS / name}")
    found = len(campaign.findings)
    answers = campaign.statuses.total()
    print(f"{campaign.cases} cases, {answers} answers, {found} findings")
    if options.json:
        figures = lasting.fuzzed(
            options.seconds, campaign.seed, campaign.statuses, campaign.cases, found
        )
        command = ["./scripts/fuzz", *sys.argv[1:]]
        lasting.save(lasting.run_of(command, "plain sockets, 1 process", figures), options.json)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
