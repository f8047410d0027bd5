"""A soak and a campaign of fuzzing, kept and shown."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from loadtests.kept import ShapeError
from loadtests.record import Held
from loadtests.reliability import documents, lasting
from loadtests.reliability.results import save
from tests.loadtests.runs import WORKERS, run
from tests.reliability.examples import results

COURSE = tuple(Held(pss=(8 + 2 * part) << 20, fds=20 + part, threads=1) for part in range(5))
FUZZED = lasting.fuzzed(5.0, 7, Counter({400: 1926, 200: 198}), 2744, 0)


def soaked() -> lasting.Run:
    workers = [{**asdict(each), "course": [asdict(held) for held in COURSE]} for each in WORKERS]
    record = {**run().as_json(), "workers": workers}
    return lasting.run_of(["./scripts/soak"], "Locust", lasting.soaked(record, "PASS"))


def test_a_soak_shows_what_each_worker_had_in_its_course() -> None:
    text = lasting.soak_section(soaked())

    assert "- command: `./scripts/soak`" in text
    assert "1,000 requests of 40 users on 40 connections in 10 s" in text
    assert "**0 failed**; PASS." in text
    assert "| worker 0: PSS, MiB    |       8.0 | 10.0 | 12.0 | 14.0 | 16.0 |" in text
    assert "| worker 1: descriptors |        20 |   21 |   22 |   23 |   24 |" in text


def test_a_campaign_shows_its_cases_answers_and_findings() -> None:
    text = lasting.fuzz_section(lasting.run_of(["./scripts/fuzz"], "sockets", FUZZED))

    assert "2,744 cases in 5 s (seed 7), and 2,124 answers: **0 findings**." in text
    assert "| answers | 198 | 1,926 |" in text


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    kept = soaked()
    lasting.save(kept, tmp_path / "soak.json")

    assert lasting.load(tmp_path / "soak.json") == kept


def test_what_another_program_wrote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "soak.json").write_text(json.dumps({"cases": 1}))

    with pytest.raises(ShapeError, match=r"soak\.json has shape None"):
        lasting.load(tmp_path / "soak.json")


def test_each_has_its_part_of_the_page(tmp_path: Path) -> None:
    save(results(), tmp_path / "reliability.json")
    lasting.save(soaked(), tmp_path / "soak.json")
    marks = [documents.BEGIN, *(section.begin for section in lasting.SECTIONS)]
    page = tmp_path / documents.PAGE
    page.write_text("\n".join(f"{mark}\nnothing yet\n<!-- end -->" for mark in marks))
    for path, content in documents.outdated(tmp_path).items():
        path.write_text(content, encoding="utf-8")

    assert documents.outdated(tmp_path) == {}
    assert "worker 0: threads" in page.read_text()
    assert page.read_text().count("nothing yet") == 1  # nobody has fuzzed
