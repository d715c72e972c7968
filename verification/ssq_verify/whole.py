"""How is a file written that is there whole, or as it was before? Beside its place, and then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of a draft, which takes the file's place if the block comes to its end."""
    draft = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def encoded(document: Any) -> bytes:
    """Return a document as JSON that a person can read and edit."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_json(document: Any, path: Path) -> None:
    """Write a document as such JSON."""
    with whole(path) as draft:
        draft.write_bytes(encoded(document))
