"""Which entry comes next? A handle's view of the queue, so that no claim lists or sorts the backlog.

A view holds the entries of the oldest buckets, up to the first bucket in which one is available. It is a hint
and no more: whether an entry is still there, the rename of the claim decides. So it is guarded by no lock
either; two threads that use it at once lose no more than a hint, and the next look finds what they lost.

Most entries were never claimed. Of those a view keeps the names as they were listed, and reads nothing out of
one before its turn: each of many workers lists each bucket, and takes but its share of it.

Where nothing is available a view holds the whole queue, and may be believed for as long as no folder changes.
A change shows in the folder's time of modification, unless it falls into the same tick of the file system's
clock as the one before. So a view is believed only if an earlier look, more than a tick before it was taken,
had found the same times: what changes after it then has a later one.
"""

import heapq
import math
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

from ssq_core.file_identity import set_aside
from ssq_core.file_layout import Layout, list_bucket
from ssq_core.file_record import FRESH, FRESH_LENGTH, Entry, State
from ssq_core.filesystem import length_of
from ssq_core.queue import QueueDataCorruptedError

TICK_NS = 20_000_000
"""Two changes that lie further apart have two times, on a file system that counts fractions of a second."""
COARSE_TICK_NS = 2_100_000_000
"""The same on one that counts seconds, or two at a time."""
_SECOND_NS = 1_000_000_000


class View:
    """What one look at the queue found, less what was taken from it since."""

    def __init__(self, *, looked_at_micros: int, returns: int) -> None:
        self.looked_at_micros = looked_at_micros
        self.returns = returns
        self.modified_ns: dict[str, int] = {}
        """When each folder of the whole queue was last changed; empty if not all of them were listed."""
        self.seen_ns = 0
        """Since when these times are known, by the process's monotonic clock."""
        self.is_drained = False
        """Whether there was no entry in the whole queue."""
        self.is_settled = False
        """Whether a later change would have a later time."""
        self._fresh: list[str] = []
        """Paths of what was never claimed, in the newest of the listed buckets: the oldest job last."""
        self._left = self._left_before = ""
        """The oldest of them, if this claim leaves it to another worker; and which the last claim left."""
        self._has_company = False
        """Whether others are known to take entries out of it."""
        self._available: list[tuple[str, str, int]] = []
        """A heap by name, and so by sequence number: name, path, and the instant of its availability."""
        self._later: list[tuple[int, str]] = []
        """A heap by that instant."""

    @property
    def has_available(self) -> bool:
        """Whether a claim would have found something when it was taken."""
        return bool(self._fresh or self._available)

    def add_fresh(self, paths: list[str]) -> None:
        """Note the entries of some buckets that were never claimed."""
        self._fresh = sorted(paths, reverse=True, key=lambda path: path[-FRESH_LENGTH:])

    def add(self, path: str, due_micros: int) -> None:
        """Note an entry that is available from an instant on."""
        if due_micros > self.looked_at_micros:
            heapq.heappush(self._later, (due_micros, path))
        else:
            self._make_available(path, due_micros)

    def take(self, now_micros: int) -> str | None:
        """Remove and return the path of the oldest entry that is available now."""
        try:
            while self._later and self._later[0][0] <= now_micros:
                due, path = heapq.heappop(self._later)
                self._make_available(path, due)
            while self._available and not self._is_fresh_next():
                _, path, due = heapq.heappop(self._available)
                # Not so if the clock was set back meanwhile.
                if due <= now_micros:
                    return path
                heapq.heappush(self._later, (due, path))
            if not self._fresh:
                self.begin()
            return self._fresh.pop() if self._fresh else None
        except IndexError:  # another thread took the last one
            return None

    def _make_available(self, path: str, due_micros: int) -> None:
        heapq.heappush(self._available, (path.rpartition("/")[2], path, due_micros))

    def _is_fresh_next(self) -> bool:
        return bool(self._fresh) and self._fresh[-1][-FRESH_LENGTH:] < self._available[0][0]

    def seconds_to_next(self, now_micros: int) -> float:
        """Return in how many seconds something will be available; 0 if something is."""
        if self.has_available:
            return 0.0
        return max(0.0, (self._later[0][0] - now_micros) / 1e6) if self._later else math.inf

    def begin(self) -> None:
        """Begin a claim: what the one before left to another comes first, unless it was taken by now."""
        if self._left:
            self._fresh.append(self._left)
            self._left, self._left_before = "", self._left
        if self._has_company:
            self._has_company = self._drop_taken() > 0

    def pass_taken(self, *, was_close: bool) -> None:
        """Drop what others have taken since, after one entry was found gone: most often, many are.

        Whoever was so close that it had already read the record goes on side by side with the winner, who is
        about to take the next entry: that is left to it, once, or they would meet again at each entry.
        """
        self._has_company = True
        self._drop_taken()
        if was_close and not self._left and len(self._fresh) > 1 and self._fresh[-1] != self._left_before:
            self._left = self._fresh.pop()

    def _drop_taken(self) -> int:
        """Drop the oldest entries that are gone, and return how many: quicker than to fail at each."""
        fresh, count = self._fresh, 0
        with suppress(IndexError):
            while not os.access(fresh[-1], os.F_OK):
                fresh.pop()
                count += 1
        return count

    def settle(self, before: "View | None", begun_ns: int) -> None:
        """Find out whether the times may be relied on, by the view before and when this one was begun."""
        is_same = before is not None and before.modified_ns == self.modified_ns
        self.seen_ns = before.seen_ns if before is not None and is_same else time.monotonic_ns()
        is_coarse = all(modified % _SECOND_NS == 0 for modified in self.modified_ns.values())
        self.is_settled = begun_ns - self.seen_ns > (COARSE_TICK_NS if is_coarse else TICK_NS)

    def is_still_so(self) -> bool:
        """Whether a view of the whole queue certainly shows it as it is: nothing came or went since."""
        return self.is_settled and all(
            _modified_ns(folder) == modified for folder, modified in self.modified_ns.items()
        )


def look(
    layout: Layout,
    *,
    now_micros: int,
    skew_micros: int,
    before: View | None = None,
    passed_over: Collection[str] = frozenset(),
) -> View:
    """Return a new view. Removes buckets found empty."""
    begun_ns = time.monotonic_ns()
    view = View(looked_at_micros=now_micros, returns=length_of(layout.returns))
    modified = {layout.queue: _modified_ns(layout.queue)}
    count = 0
    for row in layout.rows():
        modified |= {bucket: _modified_ns(bucket) for bucket in row}
        paths = _listed(layout, row)
        count += len(paths)
        paths = [path for path in paths if path not in passed_over] if passed_over else paths
        view.add_fresh([path for path in paths if path.endswith(FRESH)])
        others = [path for path in paths if not path.endswith(FRESH)]
        for path, due in _claimable(layout, others, skew_micros):
            view.add(path, due)
        if view.has_available:
            return view
    view.modified_ns, view.is_drained = modified, count == 0
    # What was passed over is to be tried again.
    if not passed_over:
        view.settle(before, begun_ns)
    return view


def due_micros(entry: Entry, skew_micros: int) -> int | None:
    """Return the first instant at which a claim may have an entry: of a lease, strictly past it and skew."""
    if entry.state is State.QUEUED:
        return entry.micros
    return entry.micros + skew_micros + 1 if entry.state is State.CLAIMED else None


def _listed(layout: Layout, buckets: list[str]) -> list[str]:
    paths = []
    for bucket in buckets:
        names = list_bucket(bucket)
        if not names:
            layout.remove_emptied(bucket)
        paths += [f"{bucket}/{name}" for name in names]
    return paths


def _claimable(layout: Layout, paths: list[str], skew_micros: int) -> Iterator[tuple[str, int]]:
    """Yield the entries that may be claimed at some time, and when."""
    for path in paths:
        entry = layout.entry_at(path)
        if entry is None:
            set_aside_strange(layout, path)
        elif (due := due_micros(entry, skew_micros)) is not None:
            yield path, due


def set_aside_strange(layout: Layout, path: str) -> None:
    """Move what is no entry out of a bucket."""
    set_aside(layout, path, QueueDataCorruptedError(path, "its name states no job of this bucket"))


def _modified_ns(folder: str) -> int:
    try:
        return os.stat(folder, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return -1


def entries(layout: Layout) -> Iterator[Entry]:
    """Yield all entries, by sequence number. Changes nothing."""
    for row in layout.rows():
        yield from sorted(entry for bucket in row for entry in layout.listed(bucket))


def find(layout: Layout, sequence: int, *, prefix: str, suffix: str = "") -> Entry | None:
    """Return the entry with such a name in a sequence number's bucket.

    Looks twice: a listing may miss an entry that is renamed meanwhile.
    """
    bucket = layout.bucket(sequence)
    for _ in range(2):
        for name in list_bucket(bucket):
            if name.startswith(prefix) and name.endswith(suffix) and (entry := layout.parse(bucket, name)):
                return entry
    return None
