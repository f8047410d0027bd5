"""Write into docs/deploy what commands really say there, and figures that follow from those of docs/performance.json.

Usage: transcripts.py [--check] [NAME...]

Each stands between two comments with its name. With --check nothing is written, and the exit status is 1 when one that
comes out the same every time is not as it would be written; the others were measured, or depend on the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import psutil

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from mpserve.top import HOME  # noqa: E402  # the path to it is set above
from tests.deploy import site  # noqa: E402  # the path to it is set above
from tests.harness.server import Server  # noqa: E402  # likewise

DEPLOY = TOP / "docs" / "deploy"
# What stands at these places on a machine stands in the scratch directory here.
PLACES = ("/etc/mpserve", "/srv/www", "/run/mpserve")
MIB = 1024 * 1024
# A terminal in a picture: how wide a letter of it is, how high a line, and what is left free around.
GLYPH, LINE, MARGIN = 8.43, 18, 12
NO_BREAK = "\N{NO-BREAK SPACE}"  # some viewers make one space of several
PAUSE = 3  # seconds
PROBES = 20  # of which the mean is told


# --- Transcripts ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """A directory that stands for the whole file system, as far as the guide speaks of it."""

    top: Path

    def transcript(self, *commands: str) -> str:
        """What a terminal shows of these commands."""
        return fenced("".join(f"$ {command}\n{self.run(command)}" for command in commands))

    def run(self, command: str) -> str:
        """What `command` writes."""
        done = subprocess.run(
            ["sh", "-c", self.placed(command)],
            cwd=self.top,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout.replace(str(self.top), "")

    def screen(self, command: str, columns: int, rows: int) -> list[str]:
        """What a terminal of that size shows when `command` has drawn it anew once; q ends the command."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        with subprocess.Popen(
            ["sh", "-c", f"exec {self.placed(command)}"],
            cwd=self.top,
            env=self.environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ):
            os.close(theirs)
            text = ""
            while text.count(HOME) < 3:  # the third begins when the second is whole
                text += os.read(ours, 65536).decode()
            os.write(ours, b"q")
        os.close(ours)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.split(HOME)[2]).splitlines()

    def environment(self) -> dict[str, str]:
        """The variables that commands find."""
        return {
            "PATH": f"{self.top}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(TOP),
            "SITE": f"{self.top}/srv/www",
            "MPSERVE_WORKERS": "2",  # and not what this machine would have
        }

    def placed(self, text: str) -> str:
        """`text` with the places where they are here."""
        for each in PLACES:
            text = text.replace(each, f"{self.top}{each}")
        return text


@contextmanager
def machine() -> Iterator[Machine]:
    """A machine on which everything of the guide is installed."""
    with tempfile.TemporaryDirectory(prefix="mpserve-") as folder:
        top = Path(folder).resolve()
        for name in ("bin", "etc", "run/mpserve", "srv/www"):
            (top / name).mkdir(parents=True)
        shutil.copy(DEPLOY / "releases" / "release", top / "bin")
        shutil.copy(DEPLOY / "systemd" / "mpserve.toml", top / "etc")
        program = top / "bin" / "mpserve"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mpserve "$@"\n')
        program.chmod(0o755)
        (top / "bin" / "python").symlink_to(sys.executable)
        site.build(top / "build", 1)
        yield Machine(top)


def fenced(text: str) -> str:
    """`text` as a block of Markdown."""
    return f"```\n{text.rstrip()}\n```\n"


def check() -> str:
    """`mpserve --check` of a file that is right, and of one that is not."""
    with machine() as here:
        here.run("release publish build")
        file = here.top / "etc" / "mpserve.toml"
        text = file.read_text().replace("/srv/www", f"{here.top}/srv/www")
        file.write_text(text)
        (here.top / "etc" / "mpserve.new.toml").write_text(text.replace("access_log", "acces_log"))
        return here.transcript(
            "mpserve --check --config /etc/mpserve.toml",
            "mpserve --check --config /etc/mpserve.new.toml; echo $?",
        )


def security() -> str:
    """What systemd makes of the fence."""
    with machine() as here:
        unit = (DEPLOY / "systemd" / "mpserve.service").read_text()
        (here.top / "mpserve.service").write_text(unit.replace("/opt", f"{here.top}/opt"))
        told = here.run("systemd-analyze security --offline=true --no-pager ./mpserve.service")
        (line,) = re.findall(r"Overall exposure level.*", told)
    return fenced(f"→ {line}")


def service() -> str:
    """What a client sees of what is done to the service under a real systemd."""
    done = subprocess.run(
        [TOP / "scripts" / "systemd"], stdout=subprocess.PIPE, text=True, check=True
    )
    return fenced(f"# ./scripts/systemd\n{done.stdout}")


def release() -> str:
    """Publishing, and the way back."""
    with machine() as here:
        first = here.transcript("release publish build 2026-11-24", "ls /srv/www/current/assets")
        site.build(here.top / "build", 2)
        second = here.transcript(
            "release publish build 2026-11-25",
            "readlink /srv/www/current",
            "ls /srv/www/current/assets",
            "release switch 2026-11-24",
            "release list",
        )
    return f"{first}\nThe next build:\n\n{second}"


def readers() -> str:
    """What those who read while releases are published have got."""
    count = 50
    with machine() as here:
        here.run("release publish build 1")
        with (
            Server(here.top / "srv/www/current", "--workers", "2", "--access-log", "off") as server,
            site.reading(server.port) as clients,
        ):
            for number in range(2, count + 2):
                site.build(here.top / "build", number)
                here.run(f"release publish build {number}")
    statuses = sorted({status for client in clients for status in client.seen})
    told = ", ".join(
        f"{sum(client.seen[status] for client in clients):,} × {status}" for status in statuses
    )
    return fenced(f"{count} releases published; answers: {told}")


@contextmanager
def watched() -> Iterator[Machine]:
    """A machine on which a server runs that has had some work."""
    with machine() as here:
        here.run("release publish build 1")
        here.run(f"sleep {PAUSE}")  # answers made from files that are younger are not kept
        run = here.top / "run" / "mpserve"
        flags = ("--admin", f"unix:{run}/admin", "--pid-file", f"{run}/pid")
        root = here.top / "srv/www/current"
        with (
            Server(root, "--workers", "2", "--access-log", "off", *flags) as server,
            site.reading(server.port),
        ):
            server.wait_for_line("sandbox")
            here.run(f"sleep {PAUSE}")  # for some figures
            yield here


def monitoring() -> str:
    """What the admin address says."""
    with watched() as here:
        ask = "curl -s --unix-socket /run/mpserve/admin http://admin"
        return here.transcript(
            f"{ask}/readyz",
            f"{ask}/metrics | grep -E 'method=\"GET\"|_count|memo_|state='",
        )


def top() -> str:
    """What `mpserve top` shows in 80 columns, and in 200."""
    with watched() as here:
        command = "mpserve top --pid-file /run/mpserve/pid --once"
        return here.transcript(f"COLUMNS=80 {command}", f"COLUMNS=200 {command}")


def picture() -> str:
    """`mpserve top` as a terminal shows it, drawn into a file beside the page."""
    with watched() as here:
        lines = here.screen("mpserve top --pid-file /run/mpserve/pid", 100, 12)
    (TOP / "docs" / "top.svg").write_text(drawn(lines, 100))
    return "![mpserve top in a terminal of 100 columns](top.svg)\n"


def drawn(lines: Sequence[str], columns: int) -> str:
    """A picture of these lines in a terminal."""
    width, height = columns * GLYPH + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    texts = "".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number}">{escape(line).replace(" ", NO_BREAK)}</text>\n'
        for number, line in enumerate(lines, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">\n'
        "<style>text { font: 14px monospace; fill: #ddd }</style>\n"
        f'<rect width="{width:g}" height="{height:g}" rx="6" fill="#1b1e23"/>\n{texts}</svg>\n'
    )


def probe() -> str:
    """What a probe says while the server serves and while it ends, and what it costs."""
    address = "unix:/run/mpserve/admin.sock"
    asking = f"python -I -S probe.py {address} /readyz; echo $?"
    with machine() as here:
        here.run("release publish build 1")
        shutil.copy(DEPLOY / "container" / "probe.py", here.top)
        words = ("--admin", here.placed(address), "--shutdown-delay", "60", "--access-log", "off")
        with Server(here.top / "srv/www/current", *words) as server:
            serving = here.transcript(asking)
            spent = processor_time(lambda: here.run(asking))
            server.signal(signal.SIGTERM)
            server.wait_for_line("stopping in")
            ending = here.transcript(asking)
            server.signal(signal.SIGTERM)
    return f"{serving}\nWhile the server ends:\n\n{ending}\nOne takes {spent * 1000:.0f} ms of a processor.\n"


def processor_time(start: Callable[[], object]) -> float:
    """Seconds of a processor that the processes take which `start` starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(PROBES):
        start()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    return spent / PROBES


# --- Figures --------------------------------------------------------------------------------------

# Of these workloads of docs/performance.md, in these words.
WORKLOADS = {
    "browser": "pages and small assets, heads of browsers",
    "many": "small files, 2,000 in turn",
    "revalidate": "304",
    "close": "one request for each connection",
    "100k": "100 KiB",
    "1m": "1 MiB",
}
BUSY = 0.6  # of a processor: what is left is for the hours that are not average


def sizing() -> str:
    """What one processor carries, from the figures of docs/performance.json."""
    timed = json.loads((TOP / "docs" / "performance.json").read_text())["timed"]
    ours = {
        each["workload"]: each["samples"]
        for each in timed
        if each["server"] == "mpserve" and not each["logged"]
    }
    rows = [
        "| what is asked | processor time, µs | requests per second | Mbit/s |",
        "|---|--:|--:|--:|",
    ]
    for workload, words in WORKLOADS.items():
        spent = statistics.median(sample["processor_us"] for sample in ours[workload])
        octets = statistics.median(sample["octets"] for sample in ours[workload])
        rate = BUSY * 1e6 / spent
        rows.append(f"| {words} | {spent:.1f} | {rate:,.0f} | {rate * octets * 8 / 1e6:,.0f} |")
    return "\n".join(rows) + "\n"


def memory() -> str:
    """What the processes of a server take, and what connections add."""
    connections = 1000
    with machine() as here:
        here.run("release publish build 1")
        root = here.top / "srv/www/current"
        with Server(root, "--workers", "2", "--access-log", "off") as server:
            before = taken(server)
            clients = [site.Client(server.port) for _ in range(connections)]
            for client in clients:
                client.read(0)
            after = taken(server)
            for client in clients:
                client.connection.close()
    each = (sum(after) - sum(before)) * 1024 / connections
    return (
        "| process | memory (PSS) |\n|---|--:|\n"
        f"| master | {before[0]:.1f} MiB |\n"
        f"| worker | {statistics.mean(before[1:]):.1f} MiB |\n"
        f"| {connections:,} idle connections | {each:.1f} KiB each |\n"
    )


def taken(server: Server) -> list[float]:
    """The memory of the master and of each worker in MiB, what they share divided among them."""
    return [
        psutil.Process(pid).memory_full_info().pss / MIB for pid in (server.pid, *server.workers())
    ]


# --- Writing them ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A place on a page, and what makes its text."""

    page: str
    make: Callable[[], str]
    constant: bool  # it comes out the same every time


BLOCKS = {
    "check": Block("systemd.md", check, constant=True),
    "service": Block("systemd.md", service, constant=False),
    "security": Block("systemd.md", security, constant=False),
    "release": Block("releases.md", release, constant=True),
    "readers": Block("releases.md", readers, constant=False),
    "monitoring": Block("../monitoring.md", monitoring, constant=False),
    "top": Block("../monitoring.md", top, constant=False),
    "picture": Block("../monitoring.md", picture, constant=False),
    "probe": Block("kubernetes.md", probe, constant=False),
    "sizing": Block("sizing.md", sizing, constant=True),
    "memory": Block("sizing.md", memory, constant=False),
}


def place(name: str) -> re.Pattern[str]:
    """Where the block stands on its page."""
    begin = f"<!-- begin {name}: made by scripts/transcripts.py -->\n"
    end = f"<!-- end {name} -->\n"
    return re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)


def stale(name: str) -> str:
    """What is wrong with the block as it stands; nothing if it is right."""
    block = BLOCKS[name]
    found = place(name).search((DEPLOY / block.page).read_text())
    if found is None:
        return "has no place"
    if not found[0].strip():
        return "is empty"
    if block.constant and found[0].strip() != block.make().strip():
        return "is out of date"
    return ""


def write(name: str) -> None:
    """Put the block onto its page."""
    page = DEPLOY / BLOCKS[name].page
    made = f"\n{BLOCKS[name].make()}\n"
    text, count = place(name).subn(lambda _: made, page.read_text())
    if count != 1:
        raise SystemExit(f"docs/deploy/{page.name} has {count} places for {name}")
    page.write_text(text)


def main(arguments: Sequence[str]) -> int:
    """Write the blocks that are named, or all, or check them; the exit status."""
    names = [word for word in arguments if word != "--check"] or list(BLOCKS)
    if "--check" not in arguments:
        for name in names:
            write(name)
        return 0
    wrong = {name: why for name in names if (why := stale(name))}
    for name, why in wrong.items():
        page = f"docs/deploy/{BLOCKS[name].page}"
        print(f"{page}: {name} {why}: run scripts/transcripts.py {name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
