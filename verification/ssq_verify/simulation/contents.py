"""Which calls look at or change what is in an open file? Each stops at a point that names the file."""

import fcntl
import os
import struct
from functools import lru_cache
from typing import Any

from ssq_verify.simulation.filetimes import OpenFile, Status
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.replacement import REAL, Call, Handler, perform, refuse, replace
from ssq_verify.simulation.world import Worker

READS = frozenset({"read", "pread", "readv", "preadv", "fstat"})
WRITES = frozenset({"write", "pwrite", "writev", "pwritev", "ftruncate", "posix_fallocate"})
CHANGES_OF_STATUS = frozenset({"fchmod", "fchown"})
SYNCS = frozenset({"fsync", "fdatasync"})
DESCRIPTORS = READS | WRITES | CHANGES_OF_STATUS | SYNCS
"""Calls on one open file."""

BETWEEN = {"sendfile": (1, 0), "copy_file_range": (0, 1), "splice": (0, 1)}
"""Calls that move bytes from one open file to another: which argument is the one, and which the other."""

_LOCKS = {fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK} | {
    getattr(fcntl, name) for name in ("F_OFD_SETLK", "F_OFD_SETLKW", "F_OFD_GETLK") if hasattr(fcntl, name)
}
_FLOCK = struct.Struct("hhqq")
"""How `struct flock` begins on 64-bit Linux: type, whence, start, length."""
_LOCKF = {os.F_LOCK: fcntl.LOCK_EX, os.F_TLOCK: fcntl.LOCK_EX | fcntl.LOCK_NB, os.F_ULOCK: fcntl.LOCK_UN}


def install() -> None:
    """Replace the calls on open files."""
    for name in DESCRIPTORS:
        replace(os, name, _at_point(name))
    for name, (source, target) in BETWEEN.items():
        replace(os, name, _between(name, source, target))
    others: dict[str, Handler] = {"open": _open, "close": _close, "dup": _dup, "dup2": _dup2, "sync": _sync,
                          "lockf": _os_lockf, "closerange": _closerange}  # fmt: skip
    for name, handler in others.items():
        replace(os, name, handler)
    replace(fcntl, "flock", _flock)
    replace(fcntl, "lockf", _lockf)
    replace(fcntl, "fcntl", _fcntl)


def located(worker: Worker, path: Any, folder: Any = None) -> str | None:
    """Return where in the working folder a path leads to, None if elsewhere."""
    if folder is None or isinstance(path, int):
        return worker.world.within(path)
    opened = worker.files.get(folder)
    text = os.fsdecode(path)
    if opened is None or text.startswith("/"):
        return worker.world.within(text)
    return worker.world.within(f"{worker.world.root}/{opened.path}/{text}")


def on_descriptor(  # noqa: PLR0917 - a call, taken apart
    worker: Worker, name: str, real: Call, fd: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make a call on an entry that was given an open file in place of a path."""
    opened = worker.files[fd]
    kind = {"stat": "fstat", "truncate": "ftruncate"}.get(name, "fchmod")
    worker.reach(_point(f"os.{name}", kind, opened.path, worker.world.name_of(opened.inode)))
    result = perform(worker, real, *args, **kwargs)
    if name == "utime":
        worker.world.file_times.set(opened.times, stated_ns(args, kwargs))
        return result
    return _after(worker, kind, opened, result)


def stated_ns(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int] | None:
    """Return the times that `utime` is given, None for now."""
    if kwargs.get("ns") is not None:
        accessed, modified = kwargs["ns"]
        return accessed, modified
    seconds = args[1] if len(args) > 1 else kwargs.get("times")
    return None if seconds is None else (round(seconds[0] * 1e9), round(seconds[1] * 1e9))


@lru_cache(maxsize=16384)
def _point(call: str, kind: str, path: str, file: str) -> Point:
    touched = frozenset((file,))
    if kind in SYNCS:
        return Point(call, path, writes=touched, may_fail=True)
    status = frozenset((f"status:{path}",))
    if kind in READS:
        reads = touched | status if kind == "fstat" else touched
        return Point(call, path, reads=reads, may_fail=kind != "fstat")
    return Point(call, path, writes=touched | status, may_fail=True)


def _at_point(name: str) -> Handler:
    call, has_effect = f"os.{name}", name in {"fstat"} | WRITES | CHANGES_OF_STATUS

    def handler(worker: Worker, real: Call, fd: Any, *args: Any) -> Any:
        # A sync takes a file, too.
        opened = worker.files.get(fd if isinstance(fd, int) else fd.fileno())
        if opened is None:
            return real(fd, *args)
        point = opened.points.get(call)
        if point is None:
            file = worker.world.name_of(opened.inode)
            point = opened.points[call] = _point(call, name, opened.path, file)
        worker.reach(point)
        worker.inside += 1
        try:
            result = real(fd, *args)
        finally:
            worker.inside -= 1
        return _after(worker, name, opened, result) if has_effect else result

    return handler


def _after(worker: Worker, kind: str, opened: OpenFile, result: Any) -> Any:
    """Let the call's effect show in the file's times; return what the call returns."""
    world = worker.world
    if kind == "fstat":
        return Status(result, opened.times, world.number_of(opened.inode), world.time)
    if kind in WRITES:
        world.file_times.written(opened.times)
    elif kind in CHANGES_OF_STATUS:
        world.file_times.set(opened.times, (opened.times.accessed_ns, opened.times.modified_ns))
    return result


def _between(name: str, source: int, target: int) -> Handler:
    def handler(worker: Worker, real: Call, *args: Any, **kwargs: Any) -> Any:
        read, written = (worker.files.get(args[at]) if len(args) > at else None for at in (source, target))
        if read is None and written is None:
            return real(*args, **kwargs)
        touched = [worker.world.name_of(file.inode) if file else None for file in (read, written)]
        detail = " -> ".join(file.path if file else "elsewhere" for file in (read, written))
        reads, writes = (frozenset(() if name is None else (name,)) for name in touched)
        worker.reach(Point(f"os.{name}", detail, reads=reads, writes=writes, may_fail=True))
        result = perform(worker, real, *args, **kwargs)
        return result if written is None else _after(worker, "write", written, result)

    return handler


def _open(
    worker: Worker, real: Call, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
) -> int:
    named = located(worker, path, dir_fd)
    if named is None:
        return real(path, flags, mode, dir_fd=dir_fd)  # type: ignore[no-any-return]
    worker.reach(_opening(named, bool(flags & (os.O_CREAT | os.O_TRUNC))))
    fd: int = perform(worker, real, path, flags, mode, dir_fd=dir_fd)
    inode = REAL["os.fstat"](fd).st_ino
    worker.files[fd] = OpenFile(inode, named, worker.world.file_times.opened(named, flags))
    return fd


@lru_cache(maxsize=16384)
def _opening(named: str, is_changing: bool) -> Point:  # noqa: FBT001 - a key of the cache
    entry = frozenset((f"entry:{named}",))
    if not is_changing:
        return Point("os.open", named, reads=entry, may_fail=True)
    folder = f"folder:{os.path.dirname(named)}"  # noqa: PTH120 - no path of the disk's
    return Point("os.open", named, writes=entry | {f"status:{named}", folder}, may_fail=True)


def _close(worker: Worker, real: Call, fd: int) -> None:
    if fd in worker.files:
        worker.closed(fd)
    real(fd)


def _closerange(worker: Worker, real: Call, low: int, high: int) -> None:
    for fd in [fd for fd in worker.files if low <= fd < high]:
        worker.closed(fd)
    real(low, high)


def _dup(worker: Worker, real: Call, fd: int) -> int:
    copy: int = real(fd)
    if fd in worker.files:
        worker.files[copy] = worker.files[fd]
    return copy


def _dup2(worker: Worker, real: Call, fd: int, target: int, *args: Any, **kwargs: Any) -> int:
    if target in worker.files and target != fd:
        worker.closed(target)
    result: int = real(fd, target, *args, **kwargs)
    if fd in worker.files:
        worker.files[target] = worker.files[fd]
    return result


def _sync(worker: Worker, real: Call) -> None:
    if worker.world.disk is not None:
        refuse(worker, "os.sync, where the power may fail,")
    real()


def _flock(worker: Worker, real: Call, file: Any, operation: int) -> None:
    opened = _opened(worker, file)
    if opened is None:
        real(file, operation)
        return
    _reach_lock(worker, "fcntl.flock", opened)
    worker.world.locks.request(worker, opened, operation, posix=False)


def _lockf(  # noqa: PLR0917 - the signature of `fcntl.lockf`
    worker: Worker, real: Call, file: Any, operation: int, length: int = 0, start: int = 0, whence: int = 0
) -> None:
    opened = _opened(worker, file)
    if opened is None:
        real(file, operation, length, start, whence)
        return
    _reach_lock(worker, "fcntl.lockf", opened)
    first = _first_byte(file, start, whence)
    worker.world.locks.request(worker, opened, operation, posix=True, first=first, length=length)


def _os_lockf(worker: Worker, real: Call, fd: int, command: int, length: int) -> None:
    opened = _opened(worker, fd)
    if opened is None or command not in _LOCKF:
        real(fd, command, length)
    else:
        _lockf(worker, real, fd, _LOCKF[command], length, 0, os.SEEK_CUR)


def _fcntl(worker: Worker, real: Call, file: Any, command: int, argument: Any = 0) -> Any:
    opened = _opened(worker, file)
    if opened is None:
        return real(file, command, argument)
    if command in {fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC}:
        copy = real(file, command, argument)
        worker.files[copy] = opened
        return copy
    if command not in _LOCKS:
        return real(file, command, argument)
    if command not in {fcntl.F_SETLK, fcntl.F_SETLKW}:
        refuse(worker, "a lock by fcntl's F_GETLK or F_OFD_SETLK")
    kind, whence, start, length = _FLOCK.unpack_from(argument)
    operation = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX}.get(kind, fcntl.LOCK_UN)
    _lockf(
        worker,
        real,
        file,
        operation | (fcntl.LOCK_NB if command == fcntl.F_SETLK else 0),
        length,
        start,
        whence,
    )
    return argument


def _opened(worker: Worker, file: Any) -> OpenFile | None:
    return worker.files.get(file if isinstance(file, int) else file.fileno())


def _reach_lock(worker: Worker, call: str, opened: OpenFile) -> None:
    lock = f"lock of {worker.world.name_of(opened.inode)}"
    worker.reach(Point(call, opened.path, writes=frozenset((lock,))))


def _first_byte(file: Any, start: int, whence: int) -> int:
    """Return the first byte of a range that `lockf` is given, counted from the file's beginning."""
    fd = file if isinstance(file, int) else file.fileno()
    if whence == os.SEEK_CUR:
        return start + os.lseek(fd, 0, os.SEEK_CUR)
    return start + (REAL["os.fstat"](fd).st_size if whence == os.SEEK_END else 0)
