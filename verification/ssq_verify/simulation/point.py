"""What is a worker about to do, that another worker, or a crash, could observe? What commutes with what?"""

import os
from functools import lru_cache
from typing import NamedTuple

CALL = "call"
"""The point before an operation is called: whatever others finish here, it comes after."""
RETURN = "return"
"""The point between an operation's last effect and its answer: unseen by others, and a crash may strike."""

ENTRY, FOLDER = "entry:", "folder:"
ANSWERS = "answers"
"""What has been answered by now: a call comes after it, for any judge to see."""
LOOKS = frozenset({"os.stat", "os.lstat", "os.access", "os.readlink"})
NEED_EMPTY = frozenset({"os.rmdir", "os.rename", "os.replace"})
"""What needs, or may need, a folder to be empty."""
SYNCS = frozenset({"os.fsync", "os.fdatasync"})


class Footprint(NamedTuple):
    """What a step may observe and change."""

    reads: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    """What it adds to, so that the order of two additions can't be told: entries of a folder, answers."""
    writes: frozenset[str] = frozenset()
    is_all: bool = False
    """Whether it may have to do with anything: time passed, the power failed."""

    def commutes_with(self, other: "Footprint") -> bool:
        """Whether the order of the two can't be told by anyone."""
        if self.is_all or other.is_all:
            return False
        return (
            self.writes.isdisjoint(other.writes)
            and self.writes.isdisjoint(other.reads)
            and self.writes.isdisjoint(other.changes)
            and self.reads.isdisjoint(other.writes)
            and self.reads.isdisjoint(other.changes)
            and self.changes.isdisjoint(other.writes)
            and self.changes.isdisjoint(other.reads)
        )

    def __or__(self, other: "Footprint") -> "Footprint":
        """Return the footprint of both."""
        return Footprint(
            self.reads | other.reads,
            self.changes | other.changes,
            self.writes | other.writes,
            self.is_all or other.is_all,
        )


class Point(NamedTuple):
    """One thing that a worker is about to do; two points commute unless they touch the same thing."""

    call: str
    """The operation's name, as the program called it: `os.rename`, `fcntl.flock`, `sqlite`."""
    detail: str
    """For people: the paths within the working folder, or the statement."""
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    """What it may observe and change: `entry:PATH`, `folder:PATH`, `file:INODE`, `lock:INODE`, `database`."""
    may_fail: bool = False
    """Whether an I/O error can be injected here."""

    def commutes_with(self, other: "Point") -> bool:
        """Whether the order of the two can't be told by anyone."""
        return footprint(self).commutes_with(footprint(other))


@lru_cache(maxsize=4096)
def footprint(point: Point) -> Footprint:
    """Return what a point touches, as far as its names tell.

    A path leads through the folders above it. Entries are added to a folder, and removed, in any order: who
    lists the folder, looks at its times or needs it to be empty can tell, another addition can't. A sync has
    no effect that anyone sees but a loss of power.
    """
    if point.call in SYNCS:
        return Footprint()
    changes = {name for name in point.writes if name.startswith(FOLDER)}
    reads = set(point.reads)
    for path in (name.removeprefix(ENTRY) for name in reads | point.writes if name.startswith(ENTRY)):
        reads |= _above(path)
        if point.call in LOOKS or point.call in NEED_EMPTY:
            reads.add(FOLDER + path)
    for path in (name.removeprefix(FOLDER) for name in point.reads if name.startswith(FOLDER)):
        reads |= _above(path) | {ENTRY + path}
    reads |= {ANSWERS} if point.call == CALL else set()
    changes |= {ANSWERS} if point.call == RETURN else set()
    return Footprint(frozenset(reads), frozenset(changes), point.writes - changes)


def _above(path: str) -> set[str]:
    """Return the entries of all folders that a path leads through."""
    above = set()
    while path := os.path.dirname(path):  # noqa: PTH120 - within the working folder, not on the disk
        above.add(ENTRY + path)
    return above


class NotSimulatable(Exception):  # noqa: N818 - it names what can not be done
    """The subject does what the simulator can't control; only stress with real processes can judge it."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where} can not be simulated; the subject rests on stress alone")
        self.what = what
        self.where = where


class Killed(BaseException):
    """Raised into a dead worker that would act while its frames are torn down; nothing takes effect."""
