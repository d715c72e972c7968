"""What does `open` give a worker? The usual files on a raw layer that stops at points.

What is buffered above that layer dies with its worker.
"""

import _pyio  # type: ignore[import-not-found]
import io
from typing import Any

from ssq_verify.simulation.replacement import REAL
from ssq_verify.simulation.world import State, Worker, current


class RawFile(_pyio.FileIO):  # type: ignore[misc]
    """The standard library's own raw file in Python, which calls `os.read`, `os.write` and `os.close`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._worker = current()
        super().__init__(*args, **kwargs)

    def _is_dead(self) -> bool:
        return self._worker is not None and self._worker.state is State.DEAD

    def write(self, data: Any) -> int:
        """Write, unless its worker is dead: nothing of it may get out."""
        return len(data) if self._is_dead() else super().write(data)

    def close(self) -> None:
        """Close, unless the kernel did."""
        if self._is_dead():
            self._closefd = False
        super().close()


def open_file(  # noqa: PLR0917 - the signature of `open`
    worker: Worker,
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,  # noqa: FBT001, FBT002 - the signature of `open`
    opener: Any = None,
) -> Any:
    """Open as `io.open` does; what is not in the working folder is opened by that."""
    known = file in worker.files if isinstance(file, int) else worker.world.within(file) is not None
    if not known and opener is None:
        return REAL["builtins.open"](file, mode, buffering, encoding, errors, newline, closefd, opener)
    text = "b" not in mode
    raw = RawFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    if "+" in mode:
        buffered: Any = io.BufferedRandom(raw, size)
    elif raw.writable():
        buffered = io.BufferedWriter(raw, size)
    else:
        buffered = io.BufferedReader(raw, size)
    if not text:
        return buffered
    return io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline, buffering == 1)
