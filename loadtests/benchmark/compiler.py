"""The C compiler, for what is so small that Python's own time would be most of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NAMES = ("cc", "gcc", "clang")


def compile_into(folder: Path, source: Path) -> Path | None:
    """The program that `source` makes; None where there is no C compiler."""
    compiler = next(filter(None, map(shutil.which, NAMES)), None)
    if compiler is None:
        return None
    program = folder / source.stem
    subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program
