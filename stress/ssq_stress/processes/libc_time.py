"""What time is it for the C code of a worker? libfaketime, loaded before libc, reads it from a file.

Workers are forked, so the library is loaded into the fork server that makes them; each then names a file of
its own. A drift goes on in steps: the file is written before each operation, and when the clock is set.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ssq_stress.processes import host
from ssq_stress.servers import faketime
from ssq_verify import server_time
from ssq_verify.subject import Subject

NOT_INSTALLED = f"{faketime.NAME} is not installed; pip install 'ssq[servers]'"


class WrongClock(Protocol):
    """A clock that knows by how much it is wrong."""

    def offset_ns(self) -> int:
        """Return what it shows more than the true time, at present."""
        ...


def unavailable(subject: Subject) -> str | None:
    """Return why a subject's workers can not be shown a wrong time."""
    return NOT_INSTALLED if subject.clock == "libc" and faketime.library() is None else None


@contextmanager
def preloaded(subject: Subject, folder: Path) -> Iterator[None]:
    """Let the workers of this block be such as can be shown a time, if the subject's C code asks for it."""
    library = faketime.library()
    if subject.clock != "libc" or library is None:
        yield
        return
    right = folder / "right-time"
    server_time.release(right)
    host.renew_fork_server()
    host.start_fork_server(faketime.environment(library, right))
    try:
        yield
    finally:
        host.renew_fork_server()
        right.unlink()


class LibcTime:
    """What all code of this process, and of those that it starts, is shown."""

    def __init__(self, clock: WrongClock, path: Path) -> None:
        assert faketime.NAME in os.environ.get("LD_PRELOAD", ""), "start the fork server inside `preloaded`"
        self._clock, self._path = clock, path
        self._shown_ns: int | None = None
        self.show()
        os.environ[faketime.FILE] = str(path)

    def show(self) -> None:
        """Let the clock be seen as it is at present."""
        offset_ns = self._clock.offset_ns()
        if offset_ns != self._shown_ns:
            server_time.shift(self._path, offset_ns / 1e9)
            self._shown_ns = offset_ns
