"""The figures replace the figures; what people wrote around them stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.benchmark import documents
from loadtests.benchmark.documents import BEGIN, BEGIN_EARLIER, END, FrameError
from loadtests.benchmark.results import save
from tests.benchmark.examples import results


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = f"before\n{BEGIN}\n\nold\n\n{END}\nafter\n"

    assert f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n" == documents.within(text, "new\n")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("no marks\n", id="none"),
        pytest.param(f"{BEGIN}\n", id="only the first"),
        pytest.param(f"{END}\n{BEGIN}\n", id="in the wrong order"),
        pytest.param(f"{BEGIN}\n{BEGIN}\n{END}\n", id="the first one twice"),
    ],
)
def test_a_document_without_its_marks_is_left_alone(text: str) -> None:
    with pytest.raises(FrameError):
        documents.within(text, "new\n")


def test_documents_that_were_just_written_are_up_to_date(tmp_path: Path) -> None:
    save(results(), tmp_path / "performance.json")
    for path, content in documents.outdated(tmp_path).items():
        path.write_text(content, encoding="utf-8")

    assert {} == documents.outdated(tmp_path)


def test_documents_that_say_something_else_are_named(tmp_path: Path) -> None:
    save(results(), tmp_path / "performance.json")
    for path, content in documents.outdated(tmp_path).items():
        path.write_text(content.replace("7.2", "7.1"), encoding="utf-8")

    named = {path.name for path in documents.outdated(tmp_path)}

    assert {"performance.md", "performance.svg"} == named


def test_what_it_cost_at_another_commit_stands_in_a_place_of_its_own(tmp_path: Path) -> None:
    save(results(), tmp_path / "performance.json")
    save(results(), tmp_path / "before.json")
    page = tmp_path / "performance.md"
    page.write_text(f"{BEGIN}\n{END}\nthen\n{BEGIN_EARLIER}\n{END}\nlast\n", encoding="utf-8")
    for path, content in documents.outdated(tmp_path).items():
        path.write_text(content, encoding="utf-8")
    of_now, then = page.read_text(encoding="utf-8").split("\nthen\n")

    assert "### Processor time per request" in of_now
    assert then.startswith(f"{BEGIN_EARLIER}\n\nµs per request, access log off. taken: ")
    assert "| to before |" in then
    assert then.endswith(f"{END}\nlast\n")
    assert {} == documents.outdated(tmp_path)
