"""Who holds which file lock? `flock` and POSIX locks, kept by simulated worker, so that nobody really waits.

A POSIX record lock belongs to a process, and all workers live in one: the kernel would grant what it should
refuse. An flock belongs to an open file; who waited for one in the kernel would stop the whole world. As on
Linux, locks of the two kinds do not see each other.
"""

import errno
import fcntl
import math
import os
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from ssq_verify.simulation.filetimes import OpenFile

Inode = int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: a worker, through an open file (flock) or as a process (POSIX), and of what bytes."""

    worker: Any
    opened: OpenFile | None
    shared: bool
    first: float = 0
    end: float = math.inf

    def same_owner(self, other: "Holder") -> bool:
        """Whether the two can not stand in each other's way."""
        return self.worker is other.worker and self.opened is other.opened

    def meets(self, other: "Holder") -> bool:
        """Whether the two are of one kind and have bytes in common."""
        is_of_one_kind = (self.opened is None) == (other.opened is None)
        return is_of_one_kind and self.first < other.end and other.first < self.end

    def without(self, other: "Holder") -> list["Holder"]:
        """Return what is left of this lock when the other's range is taken away."""
        if not self.meets(other):
            return [self]
        left = [replace(self, end=other.first)] if self.first < other.first else []
        return left + ([replace(self, first=other.end)] if other.end < self.end else [])


class LockTable:
    """All locks of one world, by inode."""

    def __init__(self) -> None:
        self._holders: defaultdict[Inode, list[Holder]] = defaultdict(list)

    @property
    def are_held(self) -> bool:
        """Whether anybody ever held one."""
        return bool(self._holders)

    def request(
        self,
        worker: Any,
        opened: OpenFile,
        operation: int,
        *,
        posix: bool,
        first: int = 0,
        length: int = 0,
    ) -> None:
        """Do what `fcntl.flock` or `fcntl.lockf` asks; waits in virtual time. Raises `BlockingIOError`."""
        inode = opened.inode
        start, end = _range(first, length)
        wanted = Holder(worker, None if posix else opened, bool(operation & fcntl.LOCK_SH), start, end)
        if operation & fcntl.LOCK_UN:
            self._drop(inode, wanted)
            return
        if self._stands_in_the_way(inode, wanted):
            if operation & fcntl.LOCK_NB:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            worker.wait(lambda: not self._stands_in_the_way(inode, wanted))
        self._drop(inode, wanted)
        self._holders[inode].append(wanted)

    def closed(self, worker: Any, opened: OpenFile, *, is_last: bool) -> None:
        """Free what goes with a descriptor: the POSIX locks, and with an open file's last one its flock."""
        if opened.inode in self._holders:
            self._holders[opened.inode] = [
                holder
                for holder in self._holders[opened.inode]
                if holder.worker is not worker
                or (holder.opened is not None and not (is_last and holder.opened is opened))
            ]

    def died(self, worker: Any) -> None:
        """Free all locks of a dead worker."""
        for inode, holders in self._holders.items():
            self._holders[inode] = [holder for holder in holders if holder.worker is not worker]

    def held_by(self, worker: Any) -> frozenset[Inode]:
        """Return the files of which a worker holds a lock."""
        return frozenset(
            inode
            for inode, holders in self._holders.items()
            if any(holder.worker is worker for holder in holders)
        )

    def _stands_in_the_way(self, inode: Inode, wanted: Holder) -> bool:
        return any(
            holder.meets(wanted) and not holder.same_owner(wanted) and not (holder.shared and wanted.shared)
            for holder in self._holders[inode]
        )

    def _drop(self, inode: Inode, owner: Holder) -> None:
        self._holders[inode] = [
            rest
            for holder in self._holders[inode]
            for rest in (holder.without(owner) if holder.same_owner(owner) else [holder])
        ]


def _range(first: int, length: int) -> tuple[float, float]:
    """Return the bytes that a lock is for: to the end for no length, before the first for a negative one."""
    if length < 0:
        return first + length, first
    return first, first + length if length else math.inf
