"""The number of processors: affinity, and control groups as kernels and containers show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpserve.processors import usable_processors

V1 = "sys/fs/cgroup/cpu,cpuacct"
V2 = "sys/fs/cgroup"


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param(None, {}, 8, id="no control groups: affinity alone"),
        pytest.param("0::/a\n", {}, 8, id="a group without the controller"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "max 100000"}, 8, id="no limit"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "200000 100000"}, 2, id="two processors"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "150000 100000"}, 2, id="one and a half is two"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "1000 100000"}, 1, id="a hundredth is one"),
        pytest.param("0::/\n", {f"{V2}/cpu.max": "6400000 100000"}, 8, id="more than there are"),
        pytest.param(
            "0::/a/b\n",
            {f"{V2}/a/cpu.max": "300000 100000", f"{V2}/a/b/cpu.max": "max 100000"},
            3,
            id="the group above binds too",
        ),
        pytest.param(
            "0::/a/b\n",
            {f"{V2}/a/cpu.max": "300000 100000", f"{V2}/a/b/cpu.max": "200000 100000"},
            2,
            id="the lowest quota binds",
        ),
        pytest.param(
            "0::/docker/4f\n", {f"{V2}/cpu.max": "400000 100000"}, 4, id="the path is the host's"
        ),
        pytest.param(
            "0::/../x\n",
            {f"{V2}/cpu.max": "400000 100000"},
            4,
            id="the path leads out of the namespace",
        ),
        pytest.param(
            "4:cpu,cpuacct:/a\n0::/\n",
            {f"{V1}/a/cpu.cfs_quota_us": "250000", f"{V1}/a/cpu.cfs_period_us": "100000"},
            3,
            id="version 1",
        ),
        pytest.param(
            "4:cpu,cpuacct:/a\n",
            {f"{V1}/a/cpu.cfs_quota_us": "-1", f"{V1}/a/cpu.cfs_period_us": "100000"},
            8,
            id="version 1, no limit",
        ),
        pytest.param(
            "4:cpu,cpuacct:/docker/4f\n",
            {f"{V2}/cpu/cpu.cfs_quota_us": "50000", f"{V2}/cpu/cpu.cfs_period_us": "10000"},
            5,
            id="version 1, mounted as cpu alone",
        ),
        pytest.param(
            "4:cpuset,cpuacct:/a\n",
            {f"{V2}/cpu/a/cpu.cfs_quota_us": "50000", f"{V2}/cpu/a/cpu.cfs_period_us": "10000"},
            8,
            id="another controller's group",
        ),
        pytest.param(
            "1:name=systemd:/x\n0::/a:b\n",
            {f"{V2}/unified/a:b/cpu.max": "100000 100000"},
            1,
            id="both versions, and a colon in a name",
        ),
    ],
)
def test_processors(
    tmp_path: Path, groups: str | None, files: dict[str, str], expected: int
) -> None:
    if groups is not None:
        write(tmp_path / "proc/self/cgroup", groups)
    for path, text in files.items():
        write(tmp_path / path, text + "\n")

    assert usable_processors(tmp_path) == expected


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_this_machine_has_at_least_one_and_at_most_what_affinity_allows() -> None:
    assert 1 <= usable_processors() <= 8
