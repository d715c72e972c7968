"""When was a file changed? File times as the simulated host's kernel would keep them, in virtual time.

They are kept by path, beside the real files, and shown by `stat`: the real ones tell the real time, and a
file's `ctime` can not be set. A file's `atime` is that of its creation, as with `noatime`.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ssq_verify.simulation.clock import EPOCH_NS, VirtualTime

if TYPE_CHECKING:
    from ssq_verify.simulation.point import Point


class Times:
    """The times of one file or folder, in nanoseconds of the epoch."""

    __slots__ = ("accessed_ns", "changed_ns", "modified_ns")

    def __init__(self, now_ns: int) -> None:
        self.accessed_ns = self.modified_ns = self.changed_ns = now_ns


class OpenFile:
    """What a descriptor leads to; descriptors made from each other (`os.dup`) share one."""

    __slots__ = ("inode", "path", "points", "times")

    def __init__(self, inode: int, path: str, times: Times) -> None:
        self.inode = inode
        self.path = path
        self.times = times
        self.points: dict[str, Point] = {}
        """Those of calls on it, by call."""


class FileTimes:
    """The times of all that is in the working folder, by path within it."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._known: dict[str, Times] = {}
        self._links: set[str] = set()
        self._folders: set[str] = set()
        """Those that ever had an entry made, renamed or removed."""

    def of(self, path: str) -> Times:
        """Return the times of what is there; of what nobody is known to have made, the world's beginning."""
        times = self._known.get(path)
        if times is None:
            times = self._known[path] = Times(EPOCH_NS)
        return times

    def is_plain(self, path: str) -> bool:
        """Whether this is known to be no link."""
        return path in self._known and path not in self._links

    def opened(self, path: str, flags: int) -> Times:
        """Note that a file was opened, and with that perhaps made or truncated."""
        if flags & os.O_CREAT and path not in self._known:
            return self.made(path)
        times = self.of(path)
        if flags & os.O_TRUNC:
            self.written(times)
        return times

    def made(self, path: str) -> Times:
        """Note a new entry."""
        times = self._known[path] = Times(self._now())
        self._folder_changed(path)
        return times

    def made_link(self, path: str) -> None:
        """Note a new symbolic link."""
        self.made(path)
        self._links.add(path)

    def removed(self, path: str) -> None:
        """Note that an entry is gone."""
        self.changed(path)
        del self._known[path]
        self._links.discard(path)
        self._folder_changed(path)

    def renamed(self, source: str, target: str) -> None:
        """Note a rename within the working folder."""
        self.changed(source)
        for path in self._at_or_below(source) if source in self._folders else [source]:
            moved = target + path[len(source) :]
            self._known[moved] = self._known.pop(path)
            self._links.discard(moved)
            if path in self._folders:
                self._folders.add(moved)
            if path in self._links:
                self._links.remove(path)
                self._links.add(moved)
        self._folder_changed(source)
        self._folder_changed(target)

    def linked(self, source: str, target: str) -> None:
        """Note a second name."""
        self.changed(source)
        self._known[target] = self._known[source]
        self._folder_changed(target)

    def written(self, times: Times) -> None:
        """Note that a file's content was changed."""
        times.modified_ns = times.changed_ns = self._now()

    def changed(self, path: str) -> None:
        """Note that something else about a file was changed."""
        self.of(path).changed_ns = self._now()

    def set(self, times: Times, stated_ns: tuple[int, int] | None) -> None:
        """Note what `utime` says: accessed and modified, or now."""
        now_ns = self._now()
        times.accessed_ns, times.modified_ns = stated_ns or (now_ns, now_ns)
        times.changed_ns = now_ns

    def forget_missing(self, root: str) -> None:
        """Drop what a loss of power took."""
        for path in [path for path in self._known if not os.path.lexists(f"{root}/{path}")]:
            del self._known[path]

    def _now(self) -> int:
        return EPOCH_NS + self._time.now_ns

    def _folder_changed(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        self._folders.add(folder)
        self.written(self.of(folder))

    def _at_or_below(self, path: str) -> list[str]:
        return [known for known in self._known if known == path or known.startswith(path + "/")]


class Status:
    """What `stat` returns in a worker: the real status, but the file's virtual times and its number here."""

    __slots__ = ("_inode", "_real", "_time", "_times")

    def __init__(self, real: os.stat_result, times: Times, inode: int, time: VirtualTime) -> None:
        self._real = real
        self._times = times.accessed_ns, times.modified_ns, times.changed_ns
        self._inode = inode
        self._time = time

    @property
    def st_mode(self) -> int:
        """Its kind and who may do what."""
        return self._real.st_mode

    @property
    def st_size(self) -> int:
        """How many bytes are in it."""
        return self._real.st_size

    @property
    def st_ino(self) -> int:
        """The file's number, the same in each run that does the same."""
        return self._inode

    @property
    def st_atime_ns(self) -> int:
        """When it was made, or what `utime` said."""
        return self._looked()[0]

    @property
    def st_mtime_ns(self) -> int:
        """When its content changed."""
        return self._looked()[1]

    @property
    def st_ctime_ns(self) -> int:
        """When anything about it changed."""
        return self._looked()[2]

    @property
    def st_atime(self) -> float:
        """The same in seconds."""
        return self._looked()[0] / 1e9

    @property
    def st_mtime(self) -> float:
        """The same in seconds."""
        return self._looked()[1] / 1e9

    @property
    def st_ctime(self) -> float:
        """The same in seconds."""
        return self._looked()[2] / 1e9

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __len__(self) -> int:
        return len(self._real)

    def __iter__(self) -> Iterator[int]:
        return iter(self._as_tuple())

    def __getitem__(self, index: Any) -> Any:
        return self._as_tuple()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Status) and self._as_tuple() == other._as_tuple()

    def __hash__(self) -> int:
        return hash(self._as_tuple())

    def __repr__(self) -> str:
        return repr(os.stat_result(self._as_tuple()))

    def _as_tuple(self) -> tuple[int, ...]:
        seconds = tuple(ns // 1_000_000_000 for ns in self._looked())
        return (self._real[0], self._inode, *self._real[2:7], *seconds)

    def _looked(self) -> tuple[int, int, int]:
        self._time.look()
        return self._times
