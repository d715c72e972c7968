"""Which calls look at or change entries of folders? Each stops at a point that names them.

A path is taken as it is written: a link within the working folder is not followed to the name of its point.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Self

from ssq_verify.simulation import contents
from ssq_verify.simulation.filetimes import FileTimes, Status
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.replacement import REAL, Call, Handler, perform, replace
from ssq_verify.simulation.world import Worker


class Place(NamedTuple):
    """Where a call is given a path: by position or by name, relative to the folder of which descriptor."""

    position: int
    name: str
    folder: str = "dir_fd"


_ONE = (Place(0, "path"),)
_TWO = (Place(0, "src", "src_dir_fd"), Place(1, "dst", "dst_dir_fd"))
PATHS: dict[str, tuple[Place, ...]] = {
    "stat": _ONE, "lstat": _ONE, "access": _ONE, "readlink": _ONE, "getxattr": _ONE, "listxattr": _ONE,
    "remove": _ONE, "unlink": _ONE, "mkdir": _ONE, "rmdir": _ONE, "symlink": (Place(1, "dst"),),
    "chmod": _ONE, "chown": _ONE, "lchown": _ONE, "utime": _ONE, "truncate": _ONE,
    "setxattr": _ONE, "removexattr": _ONE, "rename": _TWO, "replace": _TWO, "link": _TWO,
}  # fmt: skip
"""Calls on entries, each with where it is given their paths."""

LOOKS = frozenset({"stat", "lstat", "access", "readlink", "getxattr", "listxattr"})
CHANGES_OF_STATUS = frozenset({"chmod", "chown", "lchown", "utime", "truncate", "setxattr", "removexattr"})
LISTS = ("listdir", "scandir")

Effect = Callable[[FileTimes, tuple[str | None, ...]], None]


def install() -> None:
    """Replace the calls on entries."""
    for name, places in PATHS.items():
        replace(os, name, _at_point(name, places))
    replace(os, "listdir", _listdir)
    replace(os, "scandir", _scandir)


@lru_cache(maxsize=16384)
def point_of(name: str, named: tuple[str | None, ...]) -> Point | None:
    """Return the point of a call on these entries, None where none of them is in the working folder."""
    inside = tuple(path for path in named if path is not None)
    return _point(name, inside) if inside else None


def _point(name: str, named: tuple[str, ...]) -> Point:
    call, detail = f"os.{name}", " -> ".join(named)
    if name in LISTS:
        return Point(call, detail, reads=frozenset(f"folder:{path}" for path in named), may_fail=True)
    entries = frozenset(f"entry:{path}" for path in named)
    status = frozenset(f"status:{path}" for path in named)
    if name in LOOKS:
        return Point(call, detail, reads=entries | status)
    folders = frozenset(f"folder:{os.path.dirname(path)}" for path in named)  # noqa: PTH120 - no path of the disk's
    return Point(call, detail, writes=entries | status | folders, may_fail=True)


def _made(times: FileTimes, named: tuple[str | None, ...]) -> None:
    if named[-1] is not None:
        times.made(named[-1])


def _made_link(times: FileTimes, named: tuple[str | None, ...]) -> None:
    if named[0] is not None:
        times.made_link(named[0])


def _removed(times: FileTimes, named: tuple[str | None, ...]) -> None:
    if named[0] is not None:
        times.removed(named[0])


def _renamed(times: FileTimes, named: tuple[str | None, ...]) -> None:
    source, target = named
    if source is None:
        _made(times, named)
    elif target is None:
        times.removed(source)
    elif source != target:
        times.renamed(source, target)


def _linked(times: FileTimes, named: tuple[str | None, ...]) -> None:
    source, target = named
    if source is not None and target is not None:
        times.linked(source, target)
    else:
        _made(times, named)


def _changed(times: FileTimes, named: tuple[str | None, ...]) -> None:
    if named[0] is not None:
        times.changed(named[0])


def _written(times: FileTimes, named: tuple[str | None, ...]) -> None:
    if named[0] is not None:
        times.written(times.of(named[0]))


def no_effect(_times: FileTimes, _named: tuple[str | None, ...]) -> None:
    """Nothing that shows."""


EFFECTS: dict[str, Effect] = {
    "mkdir": _made, "symlink": _made_link, "link": _linked, "rename": _renamed, "replace": _renamed,
    "remove": _removed, "unlink": _removed, "rmdir": _removed, "truncate": _written,
    "chmod": _changed, "chown": _changed, "lchown": _changed, "setxattr": _changed, "removexattr": _changed,
}  # fmt: skip


def _at_point(name: str, places: tuple[Place, ...]) -> Handler:
    is_single, first, least = len(places) == 1, places[0].position, places[-1].position + 1
    is_status, effect = name in {"stat", "lstat"}, EFFECTS.get(name)

    def handler(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) < least:
            named: tuple[str | None, ...] = tuple(_argument(worker, place, args, kwargs) for place in places)
        else:
            within = worker.world.within
            named = (within(args[first]),) if is_single else (within(args[0]), within(args[1]))
        point = point_of(name, named)
        if point is None:
            fd = args[0] if args else None
            if isinstance(fd, int) and fd in worker.files:
                return contents.on_descriptor(worker, name, real, fd, args, kwargs)
            return real(*args, **kwargs)
        worker.reach(point)
        worker.inside += 1
        try:
            result = real(*args, **kwargs)
        finally:
            worker.inside -= 1
        times = worker.world.file_times
        if is_status:
            follows = name == "stat" and kwargs.get("follow_symlinks", True)
            return _status(worker, point.detail, result, follows=follows)
        if name == "utime":
            times.set(times.of(point.detail), contents.stated_ns(args, kwargs))
        if effect is not None:
            effect(times, named)
        return result

    return handler


def _argument(worker: Worker, place: Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    path = args[place.position] if len(args) > place.position else kwargs.get(place.name, -1)
    return contents.located(worker, path, kwargs.get(place.folder) if kwargs else None)


def _status(worker: Worker, path: str, real: os.stat_result, *, follows: bool) -> Status:
    world = worker.world
    if follows and not world.file_times.is_plain(path):
        path = _followed(worker, path, real)
    return Status(real, world.file_times.of(path), world.number_of(real.st_ino), world.time)


def _followed(worker: Worker, path: str, status: os.stat_result) -> str:
    """Return where a status came from: a link's target."""
    root = worker.world.root
    if perform(worker, REAL["os.lstat"], f"{root}/{path}").st_ino == status.st_ino:
        return path
    return worker.world.within(perform(worker, os.path.realpath, f"{root}/{path}")) or path


def _listdir(worker: Worker, real: Call, path: Any = ".") -> list[Any]:
    return worker.world.in_some_order(_listed("listdir", worker, real, path))


def _scandir(worker: Worker, real: Call, path: Any = ".") -> "Scan":
    def listed(path: Any) -> list[os.DirEntry[Any]]:
        with real(path) as entries:
            return list(entries)

    found = _listed("scandir", worker, listed, path)
    ordered = worker.world.in_some_order(found, key=lambda entry: entry.name)
    return Scan([Entry(worker, entry) for entry in ordered])


def _listed(name: str, worker: Worker, real: Call, path: Any) -> list[Any]:
    opened = worker.files.get(path) if isinstance(path, int) else None
    named = worker.world.within("." if path is None else path) if opened is None else opened.path
    point = point_of(name, (named,))
    if point is None:
        return list(real(path))
    worker.reach(point)
    return list(perform(worker, real, path))


class Entry:
    """What `os.scandir` yields: an `os.DirEntry` whose status is asked for at a point."""

    def __init__(self, worker: Worker, real: os.DirEntry[Any]) -> None:
        self._worker = worker
        self._real = real
        self.name = real.name
        self.path = real.path
        self._known: dict[bool, Any] = {}

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """Return the entry's status, as it was when first asked for."""
        if follow_symlinks not in self._known:
            self._known[follow_symlinks] = os.stat(self.path, follow_symlinks=follow_symlinks)  # noqa: PTH116 - the point
        return self._known[follow_symlinks]

    def inode(self) -> int:
        """Return the file's number, as `stat` does."""
        return self._worker.world.number_of(self._real.inode())

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder."""
        return self._real.is_dir(follow_symlinks=follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file."""
        return self._real.is_file(follow_symlinks=follow_symlinks)

    def is_symlink(self) -> bool:
        """Whether it is a link."""
        return self._real.is_symlink()

    def is_junction(self) -> bool:
        """Whether it is a junction, which only Windows has."""
        return False

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class Scan:
    """What `os.scandir` returns: an iterator that is also a context manager."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""
