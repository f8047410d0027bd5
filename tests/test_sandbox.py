"""The sandbox: what is decided about it. What the kernel makes of it is in tests/process."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mpserve import linux, sandbox
from mpserve.config import Config, ConfigError, Identity, load
from mpserve.sandbox import MEASURES, Plan, attempt, plan, rights

ALL = frozenset(MEASURES)
WITHOUT_LANDLOCK = ALL - {sandbox.LANDLOCK}


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path)


def level(root: str, *words: str, possible: frozenset[str] = ALL, abi: int = 7) -> str:
    return plan(load([root, *words], {}), possible, abi, master=1).level


@pytest.mark.parametrize(
    ("words", "possible", "expected"),
    [
        pytest.param(
            ["--sandbox", "auto"], ALL, "openat2 landlock(7) seccomp no_new_privs", id="all"
        ),
        pytest.param(
            ["--sandbox", "require"], ALL, "openat2 landlock(7) seccomp no_new_privs", id="required"
        ),
        pytest.param(
            ["--sandbox", "auto", "--symlinks", "any"],
            ALL,
            "openat2 landlock(7, reading anywhere) seccomp no_new_privs",
            id="links that lead anywhere",
        ),
        pytest.param(
            ["--sandbox", "auto"],
            WITHOUT_LANDLOCK,
            "openat2 seccomp no_new_privs (without landlock)",
            id="an old kernel",
        ),
        pytest.param(
            ["--sandbox", "auto"],
            frozenset({sandbox.NO_NEW_PRIVS}),
            "no_new_privs (without openat2 landlock seccomp)",
            id="a very old one",
        ),
        pytest.param(["--sandbox", "off"], ALL, "off", id="off"),
    ],
)
def test_the_level_says_what_is_reached_and_what_is_not(
    root: str, words: list[str], possible: frozenset[str], expected: str
) -> None:
    assert level(root, *words, possible=possible) == expected


def test_the_level_names_the_user(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert level(root, "--sandbox", "off", "--user", "nobody") == "off as nobody"


@pytest.mark.parametrize("missing", MEASURES)
def test_what_is_required_and_missing_is_named(root: str, missing: str) -> None:
    with pytest.raises(ConfigError) as refused:
        level(root, "--sandbox", "require", possible=ALL - {missing})

    assert str(refused.value) == f"--sandbox require: this system has no {missing}"


@pytest.mark.parametrize(
    ("abi", "expected"),
    [
        (1, (0x1FFF, 0, 0)),
        (2, (0x3FFF, 0, 0)),
        (3, (0x7FFF, 0, 0)),
        (4, (0x7FFF, 3, 0)),
        (5, (0xFFFF, 3, 0)),
        (6, (0xFFFF, 3, 3)),
        (7, (0xFFFF, 3, 3)),
        (99, (0xFFFF, 3, 3)),
    ],
)
def test_each_version_of_landlock_denies_all_that_it_can(
    abi: int, expected: tuple[int, int, int]
) -> None:
    assert rights(abi) == expected


def test_what_is_possible_is_tried_in_a_child_and_leaves_no_trace() -> None:
    found = attempt()

    assert sandbox.NO_NEW_PRIVS in found
    assert "NoNewPrivs:\t0\n" in Path("/proc/self/status").read_text()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
def test_what_fails_in_the_child_is_not_planned(
    code: int, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(linux, "landlock_ruleset", refuse)
    monkeypatch.setattr(linux, "filter_calls", refuse)

    assert not attempt() & {sandbox.LANDLOCK, sandbox.SECCOMP}


def test_without_a_sandbox_nothing_is_tried(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "attempt", lambda: pytest.fail("it was tried"))
    config: Config = load([root, "--sandbox", "off"], {})

    assert sandbox.prepare(config).measures == frozenset()


def test_an_identity_that_is_not_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, lambda *_: None)  # they say they did it
    monkeypatch.setattr(linux, "drop_capabilities_for_good", lambda: None)
    monkeypatch.setattr(linux, "hide_memory", lambda: None)
    somebody = Identity("somebody", 4711, 815, (815,))
    wanted = Plan(frozenset(), 0, False, somebody, os.getppid(), b"/")
    monkeypatch.setattr(sandbox, "set_limits", lambda: None)

    with pytest.raises(sandbox.CannotConfineError, match="could not become somebody"):
        sandbox.confine(wanted)
