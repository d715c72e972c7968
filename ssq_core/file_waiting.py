"""How does a worker learn that a job has come, without asking again and again? The kernel says so: inotify.

An entry becomes available by a rename in a bucket, or as time goes on. The folders are watched first and then
looked at, so nothing that comes in between is missed. Where there is no inotify (another system, or no more
watches to be had) the folders' times are looked at every few milliseconds instead.
"""

import ctypes
import os
import select
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Self

from ssq_core.file_layout import Layout

POLL_SECONDS = 0.02
WATCH_SECONDS_MAX = 1.0
"""So long is nothing looked at while nothing is heard; a lease that began meanwhile may end sooner."""

_IN_CREATE, _IN_MOVED_TO, _IN_ONLYDIR = 0x100, 0x80, 0x01000000
_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
_EVENT = struct.Struct("iIII")
_EVENT_BYTES = 1 << 16


class Bell:
    """Rings when something is enqueued or given back in one queue; used by one thread, and then closed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._libc = ctypes.CDLL(None, use_errno=True)
        started = getattr(self._libc, "inotify_init1", None)
        self._fd = -1 if started is None else started(_IN_NONBLOCK | _IN_CLOEXEC)

    def __enter__(self) -> Self:
        """Begin to listen."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._fd >= 0:
            os.close(self._fd)

    def listen(self) -> None:
        """Watch all folders that there are by now; watching one twice is watching it once."""
        if self._fd >= 0 and not all(self._is_watched(folder) for folder in self._folders()):
            os.close(self._fd)
            self._fd = -1

    def wait(self, seconds: float) -> None:
        """Return when it rings, or after so many seconds."""
        if self._fd < 0:
            time.sleep(min(seconds, POLL_SECONDS))
            return
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and select.select([self._fd], [], [], left)[0]:
            if any(_is_heard(name) for name in _names(os.read(self._fd, _EVENT_BYTES))):
                return

    def _folders(self) -> Iterable[str]:
        # The newest first: what is enqueued comes there.
        return [self._layout.queue, *reversed(self._layout.buckets())]

    def _is_watched(self, folder: str) -> bool:
        mask = _IN_CREATE | _IN_MOVED_TO | _IN_ONLYDIR
        watched: int = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
        return watched >= 0 or not os.path.exists(folder)


def _names(events: bytes) -> Iterator[str]:
    place = 0
    while place < len(events):
        *_, length = _EVENT.unpack_from(events, place)
        place += _EVENT.size
        yield os.fsdecode(events[place : place + length].rstrip(b"\0"))
        place += length


def _is_heard(name: str) -> bool:
    """Whether an entry was queued, or a bucket made; pending and claimed entries come and go."""
    return ".q." in name or "." not in name
