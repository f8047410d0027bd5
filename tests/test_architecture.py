"""The layer table: who may import whom, and which rooms are pure."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mpserve"
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"

# A module may import from the rows above its own, and from nowhere else in the package.
LAYERS = (
    (
        "coalescing linux mounts notify pipes process processors scoreboard settings situation"
        " protocol.grammar protocol.media protocol.message"
    ),
    "address configfile counters exposition logformat toptable protocol.target seccomp supervision upgrade watches",
    "kinds protocol.http1 protocol.representation vigil",
    "declarations protocol.conditional protocol.ranges",
    "config destination generations listing readahead tree witness",
    "accesslog errorlog files lastcall listeners loop memo respond sandbox states transport",
    "activation admin filecache handover keeping noting relay shortage",
    "batch",
    "connection",
    "crowd visitor",
    "acceptor refuge",
    "edition worker",
    "estate top",
    "adoption announcement crew",
    "changes",
    "shutdown",
    "master",
    "cli",
    "__main__",
)
LAYER = {module: number for number, row in enumerate(LAYERS) for module in row.split()}

# What a pure room must not touch: descriptors, sockets, signals, clocks, logs.
IMPURE = {"logging", "os", "select", "signal", "socket", "time"}
PURE = (
    "protocol.",
    "respond",
    "listing",
    "exposition",
    "toptable",
    "coalescing",
    "seccomp",
    "situation",
    "supervision",
)

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ROOMS = {name: path for name, path in MODULES.items() if not name.endswith("__init__")}


INSIDE = {f"mpserve.{name}" for name in ROOMS}


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports anywhere, be it for its types alone."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    inner = f"{module}.{alias.name}".removeprefix("mpserve.")
                    yield f"mpserve.{inner}" if inner in MODULES else module


def imported_by(name: str) -> list[str]:
    return list(imports(MODULES[name]))


def test_every_module_has_its_row() -> None:
    assert sorted(ROOMS.keys() - LAYER.keys()) == []


def test_every_row_has_its_module() -> None:
    assert sorted(LAYER.keys() - ROOMS.keys()) == []


def documented() -> Iterator[tuple[str, int, bool]]:
    """What the table for people says: each module, its layer, and whether it is pure."""
    for line in DOCUMENT.read_text().splitlines():
        if row := re.fullmatch(r"\| (\d+) \| `([a-z0-9_/]+)` \| \S.* \|( yes)? \|", line):
            yield row[2].replace("/", "."), int(row[1]), bool(row[3])


def test_the_documentation_has_the_same_table() -> None:
    rooms = [(name, LAYER[name], name.startswith(PURE)) for name in ROOMS if name != "__main__"]

    assert sorted(documented()) == sorted(rooms)


@pytest.mark.parametrize("name", ROOMS)
def test_imports_point_down_the_table(name: str) -> None:
    rooms = [each.removeprefix("mpserve.") for each in imported_by(name) if each in INSIDE]

    assert [each for each in rooms if LAYER[each] >= LAYER[name]] == []


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith("__init__")])
def test_packages_import_nothing(name: str) -> None:
    assert set(imported_by(name)) <= {"__future__"}


@pytest.mark.parametrize("name", [name for name in ROOMS if name.startswith(PURE)])
def test_pure_rooms_touch_nothing(name: str) -> None:
    assert sorted({each.partition(".")[0] for each in imported_by(name)} & IMPURE) == []


@pytest.mark.parametrize("name", MODULES)
def test_the_standard_library_is_enough(name: str) -> None:
    allowed = sys.stdlib_module_names | {"mpserve", "psutil"}

    assert sorted({each.partition(".")[0] for each in imported_by(name)} - allowed) == []


@pytest.mark.parametrize("name", MODULES)
def test_psutil_waits_until_someone_wants_it(name: str) -> None:
    text = MODULES[name].read_text()
    at_once = [line for line in text.splitlines() if line.startswith(("import ", "from "))]

    assert [line for line in at_once if "psutil" in line] == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_absolute(name: str) -> None:
    relative = [
        node.lineno
        for node in ast.walk(ast.parse(MODULES[name].read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]

    assert relative == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os.path, select as s", ["os.path", "select"]),
        ("from os import path", ["os"]),
        ("from mpserve import config, __version__", ["mpserve.config", "mpserve"]),
        ("from mpserve.protocol import http1", ["mpserve.protocol.http1"]),
        ("from mpserve.protocol.http1 import Limits", ["mpserve.protocol.http1"]),
        ("def f():\n    if x:\n        import mpserve.master", ["mpserve.master"]),
    ],
)
def test_no_import_is_overlooked(tmp_path: Path, text: str, expected: list[str]) -> None:
    file = tmp_path / "room.py"
    file.write_text(text)

    assert list(imports(file)) == expected
