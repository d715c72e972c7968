"""How is a program shown another time? By a library that is loaded before libc, and a file."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

NAME = "libfaketime"
FILE = "FAKETIME_TIMESTAMP_FILE"
"""The variable that names the file; it is read again at each look at the time."""


def library() -> Path | None:
    """Return where the library is, None if it is not installed."""
    # Found, not imported: the package's own code is for processes that fake their own time.
    found = find_spec(NAME)
    if found is None or found.origin is None:
        return None
    return min(Path(found.origin).parent.rglob("libfaketime.so.1"))


def environment(library: Path, file: Path) -> Mapping[str, str]:
    """Return what a program is started with, to be shown the time that a file says."""
    return {
        "LD_PRELOAD": str(library),
        FILE: str(file),
        "FAKETIME_NO_CACHE": "1",
        # How long something lasts, and how old a file is, stays true.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
