"""The quick client: saturate.c, compiled on the spot. Beside it the server is what sets the pace."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.benchmark import compiler
from loadtests.benchmark.client import Client, Load
from loadtests.benchmark.results import SATURATE

SOURCE = Path(__file__).with_name("saturate.c")
PATIENCE = 30.0  # seconds in which nothing may come, as wrk is told


def compile_into(folder: Path) -> Client | None:
    """None where there is no C compiler."""
    program = compiler.compile_into(folder, SOURCE)
    return Client(SATURATE, partial(command, program)) if program else None


def command(
    program: Path, url: str, load: Load, seconds: float, patience: float = PATIENCE
) -> list[str]:
    """How `program` is started."""
    to = urlsplit(url)
    return [
        *(str(program), str(to.hostname), str(to.port)),
        *(str(load.connections), str(seconds), str(load.heads), str(load.depth)),
        *("1" if load.counted else "0", "1" if load.closing else "0", str(patience)),
    ]
