"""The command `mpserve`: from the words of the command line to an exit status.

Until the interpreter is known to be recent enough, nothing else of the package is imported.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from functools import partial
from importlib import import_module

import mpserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpserve.config import Config

# Exit statuses; the master adds its own.
EXIT_OK = 0
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# An old image of this process sets it (see upgrade.py).
UPGRADED = "_MPSERVE_UPGRADE"

OLDEST_PYTHON = (3, 11)

# Words that in the first place will name commands: none of them is to change its meaning one day.
RESERVED = frozenset({"compress", "audit", "explain", "trace", "probe"})


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv` says; the exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if UPGRADED in os.environ:
            from mpserve import vigil

            return vigil.carry_on(lambda: run(words))
        return run(words)
    except KeyboardInterrupt:  # before anything was set up that would have to end in order
        return EXIT_INTERRUPTED


def run(words: Sequence[str]) -> int:
    """Do what `words` say, or say why not; the exit status."""
    refusal = unfit_platform(sys.platform, sys.version_info[:2]) or reserved_word(words)
    if refusal:
        return refuse(refusal)

    from mpserve.config import ConfigError

    try:
        return execute(words)
    except ConfigError as error:
        return refuse(str(error))


def unfit_platform(system: str, python: tuple[int, int]) -> str:
    """Why the server cannot run here; nothing if it can."""
    if system != "linux":
        return f"mpserve needs Linux (epoll, sendfile, openat2); this is {system}"
    if python < OLDEST_PYTHON:
        oldest, this = ("{}.{}".format(*version) for version in (OLDEST_PYTHON, python))
        return f"mpserve needs Python {oldest} or later; this is {this}"
    return ""


def reserved_word(words: Sequence[str]) -> str:
    """Why the first word cannot be a directory; nothing if it can."""
    if words and words[0] in RESERVED:
        word = words[0]
        return f"{word}: a command that is not there yet (a directory of that name is ./{word})"
    return ""


def refuse(why: str) -> int:
    """Say why nothing is served, in one line."""
    print(f"mpserve: error: {why}", file=sys.stderr)
    return EXIT_USAGE


def execute(words: Sequence[str]) -> int:
    """Serve, or do what is asked for in its place. Raises ConfigError."""
    if words[:1] == ["top"]:
        from mpserve.top import main as top

        return top(words[1:])
    from mpserve import config
    from mpserve.declarations import command_line

    known = command_line()
    _, action = known.parse(words)
    if action == "help":
        print(known.help(), end="")
        return EXIT_OK
    if action == "version":
        print(f"mpserve {mpserve.__version__}")
        return EXIT_OK
    configuration = config.load(words, os.environ)
    if action == "check":
        return report(configuration)

    from mpserve import upgrade
    from mpserve.master import Master

    load = partial(config.load, words, os.environ)
    return Master(configuration, load, upgrade.inherited()).run()


def report(config: Config) -> int:
    """What would be served, in one line, and what is allowed but perhaps not meant.

    All of the program has been imported then: an upgrade asks no more of the new code.
    """
    from mpserve import upgrade

    why_not = upgrade.refusal(os.environ)
    if why_not:
        return refuse(why_not)
    for module in pkgutil.walk_packages(mpserve.__path__, "mpserve."):
        import_module(module.name)
    from mpserve.config import warnings
    from mpserve.process import outgrown

    for warning in (*warnings(config), *outgrown(config.upkeep.max_rss)):
        print(f"mpserve: warning: {warning}", file=sys.stderr)
    addresses = ", ".join(map(str, config.bind))
    print(
        f"mpserve: all is well: {os.fsdecode(config.site.root)!r} on {addresses}, "
        f"workers: {config.workers}"
    )
    return EXIT_OK
