"""Results that are kept as JSON: written whole or not at all, and read again only in the shape that is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class ShapeError(Exception):
    """The JSON is not of the shape that this program writes."""


def save(results: DataclassInstance, shape: int, path: Path) -> None:
    """Write a dataclass and the number of its shape, whole or not at all."""
    text = json.dumps({"shape": shape, **asdict(results)}, indent=1, ensure_ascii=False)
    new = path.with_name(path.name + ".new")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(path)


def load(shape: int, path: Path) -> dict[str, Any]:
    """The fields that `save` wrote; ShapeError when it was something else."""
    said: Any = json.loads(path.read_text(encoding="utf-8"))
    found = said.pop("shape", None) if isinstance(said, dict) else None
    if found != shape:
        raise ShapeError(f"{path} has shape {found}, this program reads {shape}")
    fields: dict[str, Any] = said
    return fields
