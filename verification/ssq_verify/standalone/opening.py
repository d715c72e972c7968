"""How can a worker be stopped between the writes of one file? `open` gets a raw layer in Python."""

import _pyio  # type: ignore[import-not-found]
import builtins
import io
from typing import Any


def open_in_python(  # noqa: PLR0917 - the signature of `open`
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,  # noqa: FBT001, FBT002 - the signature of `open`
    opener: Any = None,
) -> Any:
    """Open as `open` does, on a raw file that calls `os.open`, `os.read` and `os.write`."""
    raw = _pyio.FileIO(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if buffering == 0:
        return raw
    buffered: Any = io.BufferedWriter(raw) if raw.writable() else io.BufferedReader(raw)
    if "+" in mode:
        buffered = io.BufferedRandom(raw)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline, buffering == 1)


def open_files_in_python() -> None:
    """Put the stand-in in its place."""
    builtins.open = io.open = open_in_python
