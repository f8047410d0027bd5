"""The corpus: what stands in it follows from the names, and only a whole one counts as one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from tests.harness import corpus
from tests.harness.corpus import BLOCK, CORE, LINKS, LOAD, THROUGH_LINKS, TREE, CorpusError, File

REPOSITORY = Path(__file__).parents[1]
LARGE = TREE[corpus.DOWNLOAD]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part that is quickly made; read only."""
    root = tmp_path_factory.mktemp("made") / "corpus"
    corpus.make(root, load=False)
    return root


def reference(file: File, start: int, stop: int) -> bytes:
    """What the module says of itself, cell by cell."""
    cells = range(start // 16, stop // 16 + 1)
    found = b"".join(b"%08x%08x" % (file.number, cell) for cell in cells)
    return found[start - cells.start * 16 : min(stop, file.size) - cells.start * 16]


@pytest.mark.parametrize("start", [0, 1, 15, 16, 17, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000, BLOCK, BLOCK + 1])
def test_a_slice_is_what_the_cells_say(start: int, length: int) -> None:
    assert LARGE.content(start, start + length) == reference(LARGE, start, start + length)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, BLOCK, BLOCK + 1])
def test_content_ends_with_the_file(size: int) -> None:
    file = File(b"any", size)

    assert len(file.content()) == size
    assert file.content(size) == b""
    assert file.content(0, size + 1000) == file.content()
    assert file.content(size // 2) == file.content()[size // 2 :]


def test_no_two_files_have_the_same_number() -> None:
    assert len({file.number for file in TREE.values()}) == len(TREE)


def test_every_octet_of_every_edge_has_its_file() -> None:
    sizes = {file.size for file in CORE.values()}

    assert sizes >= {0, 1, 15, 16, 4095, 4096, 4097, 65535, 65536, 1024 * 1024}
    assert LARGE.size == 64 * 1024 * 1024


def test_right_octets_have_no_difference() -> None:
    content = LARGE.content(BLOCK - 100, 3 * BLOCK + 100)

    assert LARGE.difference(content, BLOCK - 100) is None
    assert LARGE.difference(bytearray(content), BLOCK - 100) is None
    assert LARGE.difference(b"", 77) is None


@pytest.mark.parametrize("place", [0, 99, 100, 101, BLOCK + 99, BLOCK + 100, 2 * BLOCK + 199])
def test_the_first_wrong_octet_is_found(place: int) -> None:
    content = bytearray(LARGE.content(BLOCK - 100, 3 * BLOCK + 100))
    content[place] = 0
    content[-1] = 0

    assert LARGE.difference(content, BLOCK - 100) == BLOCK - 100 + place


@pytest.mark.parametrize("shift", [1, 8, 16, BLOCK])
def test_octets_of_another_place_are_wrong(shift: int) -> None:
    found = LARGE.difference(LARGE.content(1000 + shift, 1100 + shift), 1000)

    assert found is not None


def test_octets_behind_the_end_are_wrong() -> None:
    file = File(b"any", 100)

    assert file.difference(file.content() + b"x") == 100


def test_only_the_filled_part_of_a_buffer_counts() -> None:
    buffer = bytearray(LARGE.content(0, 500)) + b"rubbish"

    assert LARGE.difference(buffer, 0, 500) is None
    assert LARGE.difference(buffer, 0, 501) == 500


@pytest.mark.parametrize("file", CORE.values(), ids=lambda file: repr(file.path))
def test_what_is_made_is_what_is_computed(root: Path, file: File) -> None:
    path = os.fsencode(root) + b"/" + file.path
    with open(path, "rb") as made:
        content = made.read()
    found = os.lstat(path)

    assert content == file.content()
    assert (found.st_size, found.st_mtime_ns) == (file.size, file.mtime_ns)


@pytest.mark.parametrize("file", CORE.values(), ids=lambda file: repr(file.path))
def test_urls_name_their_files(file: File) -> None:
    assert unquote_to_bytes(file.url) == b"/" + file.path
    assert file.url.isascii()


@pytest.mark.parametrize("through", THROUGH_LINKS.items(), ids=repr)
def test_links_that_stay_inside_lead_to_a_file(root: Path, through: tuple[bytes, bytes]) -> None:
    link, path = through
    with open(os.fsencode(root) + b"/" + link, "rb") as opened:
        assert opened.read() == TREE[path].content()


@pytest.mark.parametrize("path", corpus.LEADING_OUT, ids=repr)
def test_links_that_lead_out_do(root: Path, path: bytes) -> None:
    real = os.path.realpath(os.fsencode(root) + b"/" + path)
    inside = real.startswith(os.fsencode(root) + b"/") and os.path.exists(real)

    assert not inside


def test_every_link_is_one(root: Path) -> None:
    assert all(os.path.islink(os.fsencode(root) + b"/" + link) for link in LINKS)


def test_a_part_and_a_whole_are_told_apart(root: Path) -> None:
    assert corpus.is_corpus(root, load=False)
    assert not corpus.is_corpus(root)
    corpus.check(root, load=False)
    with pytest.raises(CorpusError, match="not a corpus"):
        corpus.check(root)


def test_a_corpus_that_is_there_is_kept(root: Path) -> None:
    before = os.stat(root / "corpus.txt")
    corpus.make(root, load=False)

    assert os.stat(root / "corpus.txt") == before


@pytest.mark.slow
def test_a_part_becomes_a_whole(tmp_path: Path) -> None:
    corpus.make(tmp_path / "grown", load=False)
    corpus.make(tmp_path / "grown")
    corpus.check(tmp_path / "grown")

    assert corpus.is_corpus(tmp_path / "grown", load=False)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b"short"), id="of another size"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="no file"),
    ],
)
def test_a_damaged_corpus_is_found(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    corpus.make(tmp_path / "made", load=False)
    damage(tmp_path / "made" / "sizes" / "4096.bin")

    with pytest.raises(CorpusError, match="anew"):
        corpus.check(tmp_path / "made", load=False)


def test_an_interrupted_making_leaves_no_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "LINKS", {b"index.html/below": b"a link that cannot be made"})
    with pytest.raises(OSError, match="index"):
        corpus.make(tmp_path / "made", load=False)

    assert not corpus.is_corpus(tmp_path / "made", load=False)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="something else"):
        corpus.make(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_is_one_sentence() -> None:
    with pytest.raises(CorpusError, match="cannot make"):
        corpus.make("/proc/corpus")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "scripts" / "make-corpus", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.slow
def test_the_command_makes_and_checks(tmp_path: Path) -> None:
    made = command("--core", str(tmp_path / "new"))
    checked = command("--core", "--check", str(tmp_path / "new"))

    assert (made.returncode, checked.returncode) == (0, 0)
    assert made.stdout == checked.stdout
    assert f"a corpus of {len(CORE)} files" in made.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--check", "/proc"), ("/proc",), ("/proc/no/where",)])
def test_the_command_complains_in_one_sentence(words: tuple[str, ...]) -> None:
    done = command(*words)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("make-corpus: ")


def test_what_load_tests_need_is_more_than_a_server_keeps_open() -> None:
    cold = [path for path in LOAD if path.startswith(b"cold/")]

    assert len(cold) == corpus.COLD_FILES > 4000
    assert {corpus.cold(place).path for place in range(corpus.COLD_FILES)} == set(cold)
