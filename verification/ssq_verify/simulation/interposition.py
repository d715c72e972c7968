"""Where does real code meet the world? Each function here stops the running worker, then does the real thing.

The functions of `os`, `time` and `fcntl`, `open` and `sqlite3.connect` are replaced once, for the whole
process; outside of a worker they pass straight through. Code that bound a function earlier (`from os import
rename`) is reached by its audit event (PEP 578): a greenlet may switch inside the hook.
"""

# One os call a point, as the subject made it:
# ruff: noqa: PTH120

import builtins
import fcntl
import functools
import io
import os
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from ssq_verify.simulation import files, statements
from ssq_verify.simulation.point import NotSimulatable, Point
from ssq_verify.simulation.world import Worker, current

Call = Callable[..., Any]

REAL: dict[str, Call] = {}
"""The functions as they were before `install`."""

PATHS = {
    "stat": 1, "lstat": 1, "access": 1, "readlink": 1, "listdir": 1, "scandir": 1,
    "remove": 1, "unlink": 1, "mkdir": 1, "rmdir": 1, "chmod": 1, "utime": 1, "truncate": 1,
    "rename": 2, "replace": 2, "link": 2, "symlink": 2,
}  # fmt: skip
"""Calls on directory entries, with their number of paths."""

LOOKS = frozenset({"stat", "lstat", "access", "readlink"})
LISTS = frozenset({"listdir", "scandir"})

DESCRIPTORS = ("read", "pread", "fstat", "write", "pwrite", "ftruncate", "fsync", "fdatasync")
"""Calls on an open file."""

CONTENT_READS = frozenset({"read", "pread", "fstat"})

AUDITED = {
    "os.rename": 2, "os.remove": 1, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.rmdir": 1,
    "os.truncate": 1, "os.listdir": 1, "os.scandir": 1, "open": 1,
}  # fmt: skip

FORBIDDEN = {
    "subprocess.Popen": "a subprocess",
    "os.fork": "a fork",
    "os.posix_spawn": "a subprocess",
    "os.system": "a subprocess",
    "socket.__new__": "a socket",
    "_thread.start_new_thread": "a thread",
}


@functools.cache
def install() -> None:
    """Replace the functions, once in a process; code that is in no worker is only passed through."""
    for name, paths in PATHS.items():
        _replace(os, name, functools.partial(_entries_point, name, paths))
    for name in DESCRIPTORS:
        _replace(os, name, functools.partial(_content_point, name))
    for module, name, substitute in (
        (os, "open", _open), (os, "close", _close), (os, "getpid", _getpid), (os, "urandom", _urandom),
        (os, "listdir", _listdir), (os, "scandir", _scandir), (random, "_urandom", _urandom),
        (builtins, "open", _open_buffered), (io, "open", _open_buffered),
        (fcntl, "flock", _flock), (fcntl, "lockf", _lockf),
        (time, "sleep", _sleep), (time, "time", _time), (time, "time_ns", _time_ns),
        (time, "monotonic", _monotonic), (time, "monotonic_ns", _monotonic_ns),
        (sqlite3, "connect", _connect), (sqlite3.dbapi2, "connect", _connect),
        (time, "perf_counter", _monotonic), (time, "perf_counter_ns", _monotonic_ns),
    ):  # fmt: skip
        key = f"{module.__name__}.{name}"
        REAL.setdefault(key, getattr(module, name))
        setattr(module, name, functools.partial(_dispatch, REAL[key], substitute))
    for name in ("_start_new_thread", "_start_joinable_thread"):
        # Python 3.13 starts threads by the second; the audit event came with 3.12.
        if hasattr(threading, name):
            real = REAL.setdefault(f"threading.{name}", getattr(threading, name))
            setattr(threading, name, functools.partial(_dispatch, real, _start_thread))
    sys.addaudithook(_audit)


def _replace(module: Any, name: str, describe: Callable[..., Point | None]) -> None:
    """Put a point before a function."""
    real = REAL.setdefault(f"{module.__name__}.{name}", getattr(module, name))

    def at_point(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
        point = describe(worker, args)
        if point is None:
            return real(*args, **kwargs)
        worker.reach(point)
        return perform(worker, real, *args, **kwargs)

    substitute = functools.partial(_dispatch, real, at_point)
    for supported in (
        os.supports_fd,
        os.supports_dir_fd,
        os.supports_follow_symlinks,
        os.supports_effective_ids,
    ):
        if real in supported:
            supported.add(substitute)
    setattr(module, name, substitute)


def _dispatch(real: Call, substitute: Call, *args: Any, **kwargs: Any) -> Any:
    worker = current()
    if worker is None or worker.inside:
        return real(*args, **kwargs)
    worker.check_alive()
    return substitute(worker, real, *args, **kwargs)


def perform(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
    """Do the real thing at a point; what it calls in its turn is no point of its own."""
    worker.inside += 1
    try:
        return real(*args, **kwargs)
    finally:
        worker.inside -= 1


def _entries_point(name: str, paths: int, worker: Worker, args: Sequence[Any]) -> Point | None:
    named = [path for arg in args[:paths] if (path := worker.world.within(arg)) is not None]
    if not named:
        return None
    call, detail = f"os.{name}", " -> ".join(named)
    if name in LISTS:
        return Point(call, detail, reads=frozenset(f"folder:{path}" for path in named), may_fail=True)
    entries = frozenset(f"entry:{path}" for path in named)
    if name in LOOKS:
        return Point(call, detail, reads=entries)
    folders = frozenset(f"folder:{os.path.dirname(path)}" for path in named)
    return Point(call, detail, writes=entries | folders, may_fail=True)


def _content_point(name: str, worker: Worker, args: Sequence[Any]) -> Point | None:
    opened = worker.files.get(args[0] if isinstance(args[0], int) else -1)
    if opened is None:
        return None
    inode, path = opened
    touched = frozenset((worker.world.name_of(inode),))
    if name in CONTENT_READS:
        return Point(f"os.{name}", path, reads=touched, may_fail=name != "fstat")
    return Point(f"os.{name}", path, writes=touched, may_fail=True)


def _open(worker: Worker, real: Call, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    named = worker.world.within(path)
    if named is None:
        return real(path, flags, *args, **kwargs)  # type: ignore[no-any-return]
    entry = frozenset((f"entry:{named}",))
    if flags & (os.O_CREAT | os.O_TRUNC):
        point = Point("os.open", named, writes=entry | {f"folder:{os.path.dirname(named)}"}, may_fail=True)
    else:
        point = Point("os.open", named, reads=entry, may_fail=True)
    worker.reach(point)
    fd: int = perform(worker, real, path, flags, *args, **kwargs)
    worker.opened(fd, named)
    return fd


def _close(worker: Worker, real: Call, fd: int) -> None:
    if fd in worker.files:
        worker.closed(fd)
    real(fd)


def _listdir(worker: Worker, real: Call, path: Any = ".") -> list[Any]:
    return worker.world.in_some_order(_listed("listdir", worker, real, path))


def _scandir(worker: Worker, real: Call, path: Any = ".") -> "_Scan":
    def listed(path: Any) -> list[os.DirEntry[Any]]:
        with real(path) as entries:
            return list(entries)

    found = _listed("scandir", worker, listed, path)
    return _Scan(worker.world.in_some_order(found, key=lambda entry: entry.name))


def _listed(name: str, worker: Worker, real: Call, path: Any) -> list[Any]:
    point = _entries_point(name, 1, worker, (path,))
    if point is None:
        return list(real(path))
    worker.reach(point)
    return list(perform(worker, real, path))


class _Scan:
    """What `os.scandir` returns: an iterator that is also a context manager."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = iter(entries)

    def __iter__(self) -> "_Scan":
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""


def _flock(worker: Worker, real: Call, file: Any, operation: int) -> None:  # noqa: ARG001 - the world's lock, not the kernel's
    _lock(worker, "fcntl.flock", file, operation, posix=False)


def _lockf(worker: Worker, real: Call, file: Any, operation: int, *_range: int) -> None:  # noqa: ARG001 - as above
    _lock(worker, "fcntl.lockf", file, operation, posix=True)


def _lock(worker: Worker, call: str, file: Any, operation: int, *, posix: bool) -> None:
    fd = file if isinstance(file, int) else file.fileno()
    inode, path = worker.files[fd]
    worker.reach(Point(call, path, writes=frozenset((f"lock of {worker.world.name_of(inode)}",))))
    worker.world.locks.request(worker, fd, operation, posix=posix)


def _open_buffered(
    _worker: Worker, _real: Call, file: Any, mode: str = "r", *args: Any, **kwargs: Any
) -> Any:
    return files.open_file(file, mode, *args, **kwargs)


def _connect(worker: Worker, _real: Call, *args: Any, **kwargs: Any) -> Any:
    return statements.connect(worker, *args, **kwargs)


def _start_thread(_worker: Worker, _real: Call, *_args: Any, **_kwargs: Any) -> Any:
    starter = sys._getframe(3)  # noqa: SLF001 - of `_dispatch` and `Thread.start`, who called these
    raise NotSimulatable("a thread", f"{starter.f_code.co_filename}:{starter.f_lineno}")


def _getpid(worker: Worker, _real: Call) -> int:
    return worker.pid


def _urandom(worker: Worker, _real: Call, size: int) -> bytes:
    return worker.random.randbytes(size)


def _sleep(worker: Worker, _real: Call, seconds: float) -> None:
    worker.sleep(seconds)


def _time(worker: Worker, _real: Call) -> float:
    return worker.clock().timestamp()


def _time_ns(worker: Worker, _real: Call) -> int:
    return round(worker.clock().timestamp() * 1e6) * 1_000


def _monotonic(worker: Worker, _real: Call) -> float:
    return worker.world.time.look() / 1e9


def _monotonic_ns(worker: Worker, _real: Call) -> int:
    return worker.world.time.look()


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in AUDITED and event not in FORBIDDEN:
        return
    worker = current()
    if worker is None or worker.inside:
        return
    if event in FORBIDDEN:
        caller = sys._getframe(1)  # noqa: SLF001 - the audit hook's caller is where it happens
        raise NotSimulatable(FORBIDDEN[event], f"{caller.f_code.co_filename}:{caller.f_lineno}")
    point = _entries_point(event.removeprefix("os."), AUDITED[event], worker, args)
    if point is not None:
        worker.reach(point)
