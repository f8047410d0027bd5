"""The catalogue fits the files it speaks of."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from loadtests import catalogue
from loadtests.catalogue import SCENARIOS, SCENARIOS_DIRECTORY, Scenario
from loadtests.plan import PLANS

HELPERS = {"__init__", "probe"}  # the probe only takes part in other scenarios


def user_classes(path: Path) -> list[str]:
    """The names of the user classes in a file, which is not imported: Locust would come with it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [
        node.name
        for node in classes
        if any(isinstance(base, ast.Name) and base.id == "StrictUser" for base in node.bases)
    ]


FILES = sorted(SCENARIOS_DIRECTORY.glob("*.py"))


def test_every_scenario_of_the_specification_is_there() -> None:
    wanted = "browse cold video-seek download pipeline slow-reader slow-header churn 404-storm"

    assert {*wanted.split(), "mixed", "soak", "chaos", "smoke"} == SCENARIOS.keys()
    assert catalogue.DEFAULT in SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda each: each.name)
def test_a_scenario_says_what_it_does_and_why(scenario: Scenario) -> None:
    paragraphs = scenario.description.split("\n\n")

    assert len(paragraphs) >= 2
    assert "\n" not in scenario.summary
    assert scenario.summary


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_holds_one_user_class_or_none(path: Path) -> None:
    assert len(user_classes(path)) <= 1


def test_every_file_belongs_to_a_scenario() -> None:
    stems = {path.stem for path in FILES} - HELPERS

    assert stems == {scenario.module.stem for scenario in SCENARIOS.values()}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda each: each.name)
def test_who_takes_part_exists_and_the_numbers_make_sense(scenario: Scenario) -> None:
    known = {name for path in FILES for name in user_classes(path)}

    assert scenario.users.keys() <= known
    assert min(scenario.users.values()) >= 1
    assert scenario.count >= len(scenario.users)
    assert scenario.seconds > 0
    assert scenario.shape in {"", *PLANS}


def test_the_locustfile_offers_every_user_class() -> None:
    known = {name for path in FILES for name in user_classes(path)}
    tree = ast.parse((SCENARIOS_DIRECTORY.parent / "locustfile.py").read_text(encoding="utf-8"))
    imported = {
        name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loadtests.scen")
        for name in node.names
    }

    assert imported == known


def test_only_chaos_kills() -> None:
    assert [name for name, row in SCENARIOS.items() if row.kills] == ["chaos"]
