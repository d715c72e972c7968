"""Where does real code meet the world? Everything that is replaced or watched, once for the whole process.

Outside of a worker all replaced functions pass straight through. Code that bound a function earlier (`from os
import rename`) is reached where it keeps it, or by the call's audit event (PEP 578): a greenlet may switch
inside the hook. What exactly is modelled stands in SIMULATION.md.
"""

import builtins
import functools
import io
import sqlite3
import sys
from typing import Any

from ssq_verify.simulation import (
    contents,
    entries,
    entropy,
    files,
    identity,
    place,
    replacement,
    statements,
    threads,
    travel,
    unmodelled,
)
from ssq_verify.simulation.replacement import replace
from ssq_verify.simulation.world import Worker, current

AUDITED = {
    "os.rename": "rename", "os.remove": "remove", "os.link": "link", "os.symlink": "symlink",
    "os.mkdir": "mkdir", "os.rmdir": "rmdir", "os.truncate": "truncate", "os.chmod": "chmod",
    "os.chown": "chown", "os.utime": "utime", "os.setxattr": "setxattr", "os.removexattr": "removexattr",
}  # fmt: skip
"""Events of calls on entries by a name that was bound before and not found, each with the call."""

REAL = replacement.REAL

_REACHED = "modules"
_known = {_REACHED: 0}


def install() -> None:
    """Replace the functions, once in a process, and reach what was imported since."""
    _replace_all()
    if _known[_REACHED] != len(sys.modules):
        replacement.spread()
        threads.spread()
        _known[_REACHED] = len(sys.modules)


@functools.cache
def _replace_all() -> None:
    for part in (entries, contents, travel, entropy, identity, place, threads, statements, unmodelled):
        part.install()
    for opening in (builtins, io):
        replace(opening, "open", _open)
    for connecting in (sqlite3, sqlite3.dbapi2):
        replace(connecting, "connect", _connect)
    sys.addaudithook(_audit)


def _open(worker: Worker, _real: Any, *args: Any, **kwargs: Any) -> Any:
    return files.open_file(worker, *args, **kwargs)


def _connect(worker: Worker, _real: Any, *args: Any, **kwargs: Any) -> Any:
    return statements.connect(worker, *args, **kwargs)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event not in WATCHED:
        return
    worker = current()
    if worker is None or worker.inside:
        return
    if event not in AUDITED:
        unmodelled.audit(worker, event, args)
        return
    name = AUDITED[event]
    places = entries.PATHS[name]
    named = tuple(worker.world.within(args[place.position]) for place in places)
    point = entries.point_of(name, named)
    if point is not None:
        worker.reach(point)
        entries.EFFECTS.get(name, entries.no_effect)(worker.world.file_times, named)


WATCHED = frozenset(AUDITED) | frozenset(unmodelled.FORBIDDEN) | frozenset(unmodelled.CONDITIONAL)
