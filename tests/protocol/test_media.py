"""The media type of a file name, and the generator of its table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from mpserve.protocol.media import MEDIA_TYPES, UNKNOWN, media_type

MediaTypes = Callable[[dict[str, dict[str, list[str]]]], dict[str, str]]

SCRIPT = Path(__file__).parents[2] / "scripts" / "media_types.py"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(b"index.html", b"text/html; charset=utf-8", id="HTML"),
        pytest.param(b"style.css", b"text/css; charset=utf-8", id="CSS"),
        pytest.param(b"app.js", b"text/javascript; charset=utf-8", id="a script"),
        pytest.param(b"app.mjs", b"text/javascript; charset=utf-8", id="a script module"),
        pytest.param(b"data.json", b"application/json; charset=utf-8", id="JSON"),
        pytest.param(b"feed.xml", b"application/xml; charset=utf-8", id="XML"),
        pytest.param(b"logo.svg", b"image/svg+xml; charset=utf-8", id="SVG"),
        pytest.param(b"app.wasm", b"application/wasm", id="WebAssembly"),
        pytest.param(b"setup.py", b"text/x-python; charset=utf-8", id="a program"),
        pytest.param(b"0001-fix.patch", b"text/x-diff; charset=utf-8", id="a patch"),
        pytest.param(b"photo.webp", b"image/webp", id="an image"),
        pytest.param(b"clip.mp4", b"video/mp4", id="a film"),
        pytest.param(b"text.woff2", b"font/woff2", id="a font"),
        pytest.param(b"release.tar.gz", b"application/gzip", id="the last extension decides"),
        pytest.param(b"a.html.txt", b"text/plain; charset=utf-8", id="and no earlier one"),
        pytest.param(b"PHOTO.JPG", b"image/jpeg", id="capitals"),
        pytest.param(b"\xff.png", b"image/png", id="a name that is no UTF-8"),
        pytest.param(b" .png", b"image/png", id="a name that is a space"),
        pytest.param(b"README", UNKNOWN, id="no extension"),
        pytest.param(b"html", UNKNOWN, id="an extension without a dot"),
        pytest.param(b"name.", UNKNOWN, id="a dot at the end"),
        pytest.param(b"name.html ", UNKNOWN, id="a space at the end"),
        pytest.param(b"name.xyzzy", UNKNOWN, id="an extension nobody knows"),
        pytest.param(b"name.html~", UNKNOWN, id="a backup"),
        pytest.param(b".html", UNKNOWN, id="a dot that hides the file"),
        pytest.param(b".well-known.json", b"application/json; charset=utf-8", id="hidden JSON"),
        pytest.param(b"drawing.svgz", UNKNOWN, id="what would need a Content-Encoding"),
        pytest.param(b"", UNKNOWN, id="no name"),
    ],
)
def test_the_extension_decides(name: bytes, expected: bytes) -> None:
    assert media_type(name) == expected


def test_what_is_unknown_is_plain_octets() -> None:
    assert UNKNOWN == b"application/octet-stream"


def test_the_table_knows_more_than_the_usual_suspects() -> None:
    assert len(MEDIA_TYPES) > 200


def test_all_text_says_its_charset() -> None:
    silent = {
        value
        for value in MEDIA_TYPES.values()
        if value.startswith(b"text/") and not value.endswith(b"; charset=utf-8")
    }

    assert silent == set()


def test_the_table_is_what_its_source_says() -> None:
    checked = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture
def media_types() -> MediaTypes:
    """The function of that name in the generator."""
    spec = spec_from_file_location("media_types", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    made: MediaTypes = module.media_types
    return made


def test_the_generator_adds_a_charset_to_what_is_text(media_types: MediaTypes) -> None:
    types = media_types({"text": {"a/b": ["x", "y"]}, "binary": {"c/d": ["z"]}})

    assert types == {"x": "a/b; charset=utf-8", "y": "a/b; charset=utf-8", "z": "c/d"}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"text": {"a/b": ["x", "x"]}, "binary": {}}, id="twice in a row"),
        pytest.param({"text": {"a/b": ["x"]}, "binary": {"c/d": ["x"]}}, id="in two rows"),
        pytest.param({"text": {"a/b": ["X"]}, "binary": {}}, id="in capitals"),
        pytest.param({"text": {}, "binary": {"text/x": ["x"]}}, id="text without charset"),
    ],
)
def test_the_generator_refuses_a_source_that_contradicts_itself(
    media_types: MediaTypes, source: dict[str, dict[str, list[str]]]
) -> None:
    with pytest.raises(ValueError, match=r"is text|is there twice, or not in lower case"):
        media_types(source)
