"""In which order are folders listed? As in the run: a file system may give any order."""

import os
from collections.abc import Callable, Iterator
from typing import Any, Self

from ssq_verify.standalone.answers import run
from ssq_verify.standalone.turns import point_now


def list_in_order() -> None:
    """Let listings be sorted, or reversed where the run had them so."""
    listdir, scandir = os.listdir, os.scandir

    def ordered(call: str, names: list[Any], key: Callable[[Any], Any] | None = None) -> list[Any]:
        return sorted(names, key=key, reverse=point_now(call) in run.reversed)

    def scanned(path: Any = ".") -> "Scan":
        with scandir(path) as entries:
            return Scan(ordered("os.scandir", list(entries), lambda entry: entry.name))

    vars(os)["listdir"] = lambda path=".": ordered("os.listdir", listdir(path))
    vars(os)["scandir"] = scanned


class Scan:
    """What `os.scandir` returns."""

    def __init__(self, entries: list[Any]) -> None:
        self.entries = iter(entries)

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def __next__(self) -> Any:
        return next(self.entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""
