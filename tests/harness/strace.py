"""strace on a process that runs already: what it asks of the kernel, and answers that the kernel would not give."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.until import until

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@contextmanager
def traced(pid: int, log: Path, *words: str) -> Iterator[None]:
    """Let strace, with these words for a command line, watch all threads of `pid`, and write to `log`."""
    command = ["strace", "-f", "-q", "-o", str(log), "-p", str(pid), *words]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: is_traced(pid) or tracer.poll() is not None)
        if tracer.poll() is not None:
            pytest.skip("strace may not trace here")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def is_traced(pid: int) -> bool:
    """Whether any process traces `pid`."""
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
