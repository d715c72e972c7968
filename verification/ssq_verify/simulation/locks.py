"""Who holds which file lock? `flock` and POSIX locks, kept by simulated worker, so that nobody really waits.

A POSIX record lock belongs to a process, and all workers live in one: the kernel would grant what it should
refuse. An flock belongs to an open file; who waited for one in the kernel would stop the whole world.
"""

import errno
import fcntl
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

Inode = int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: a worker, through one of its descriptors (flock) or as a process (POSIX)."""

    worker: Any
    fd: int | None
    shared: bool

    def same_owner(self, other: "Holder") -> bool:
        """Whether the two can not stand in each other's way."""
        return self.worker is other.worker and self.fd == other.fd


class LockTable:
    """All locks of one world, by inode."""

    def __init__(self) -> None:
        self._holders: defaultdict[Inode, list[Holder]] = defaultdict(list)

    def request(self, worker: Any, fd: int, operation: int, *, posix: bool) -> None:
        """Do what `fcntl.flock` or `fcntl.lockf` asks; waits in virtual time. Raises `BlockingIOError`."""
        inode = os.fstat(fd).st_ino
        wanted = Holder(worker, None if posix else fd, bool(operation & fcntl.LOCK_SH))
        if operation & fcntl.LOCK_UN:
            self._drop(inode, wanted)
            return
        if self._stands_in_the_way(inode, wanted):
            if operation & fcntl.LOCK_NB:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            worker.wait(lambda: not self._stands_in_the_way(inode, wanted))
        self._drop(inode, wanted)
        self._holders[inode].append(wanted)

    def closed(self, worker: Any, fd: int, inode: Inode) -> None:
        """Free what the kernel frees with a descriptor: its flock, and the process's POSIX locks."""
        if inode in self._holders:
            self._holders[inode] = [
                holder
                for holder in self._holders[inode]
                if holder.worker is not worker or holder.fd not in (fd, None)
            ]

    def died(self, worker: Any) -> None:
        """Free all locks of a dead worker."""
        for inode, holders in self._holders.items():
            self._holders[inode] = [holder for holder in holders if holder.worker is not worker]

    def _stands_in_the_way(self, inode: Inode, wanted: Holder) -> bool:
        return any(
            not holder.same_owner(wanted) and not (holder.shared and wanted.shared)
            for holder in self._holders[inode]
        )

    def _drop(self, inode: Inode, owner: Holder) -> None:
        self._holders[inode] = [holder for holder in self._holders[inode] if not holder.same_owner(owner)]
