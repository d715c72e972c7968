"""Which entry comes next? A handle's view of the queue, so that no claim lists or sorts the backlog.

A view holds the entries of the oldest buckets, up to the first bucket in which one is available. It is a hint
and no more: whether an entry is still there, the rename of the claim decides. So it is guarded by no lock
either; two threads that use it at once lose no more than a hint, and the next look finds what they lost.
"""

import heapq
from collections.abc import Collection, Iterator

from ssq_core.file_identity import set_aside
from ssq_core.file_layout import Layout, list_bucket
from ssq_core.file_record import Entry, State
from ssq_core.filesystem import length_of
from ssq_core.queue import QueueDataCorruptedError


class View:
    """What one look at the queue found, less what was taken from it since."""

    def __init__(self, *, looked_at_micros: int, returns: int, skew_micros: int) -> None:
        self.looked_at_micros = looked_at_micros
        self.returns = returns
        self._skew_micros = skew_micros
        self._available: list[Entry] = []
        """A heap by sequence number."""
        self._later: list[tuple[int, Entry]] = []
        """A heap by the instant from which the entry is available."""

    def add(self, entry: Entry, now_micros: int) -> bool:
        """Note an entry; return whether it is available now."""
        due = self.due_micros(entry)
        if due > now_micros:
            heapq.heappush(self._later, (due, entry))
            return False
        heapq.heappush(self._available, entry)
        return True

    def take(self, now_micros: int) -> Entry | None:
        """Remove and return the oldest entry that is available now."""
        try:
            while self._later and self._later[0][0] <= now_micros:
                heapq.heappush(self._available, heapq.heappop(self._later)[1])
            while self._available:
                entry = heapq.heappop(self._available)
                # Not so if the clock was set back meanwhile.
                if self.due_micros(entry) <= now_micros:
                    return entry
                heapq.heappush(self._later, (self.due_micros(entry), entry))
        except IndexError:  # another thread took the last one
            return None
        return None

    def due_micros(self, entry: Entry) -> int:
        """Return the first instant at which a claim may have the entry: strictly past lease and skew."""
        return entry.micros + self._skew_micros + 1 if entry.state is State.CLAIMED else entry.micros


def look(
    layout: Layout, *, now_micros: int, skew_micros: int, passed_over: Collection[Entry] = frozenset()
) -> View | None:
    """Return a new view, None if nothing in the whole queue is available. Removes buckets found empty."""
    view = View(looked_at_micros=now_micros, returns=length_of(layout.returns), skew_micros=skew_micros)
    for bucket in layout.buckets():
        names = list_bucket(bucket)
        if not names:
            layout.remove_emptied(bucket)
        available = False
        for entry in _claimable(layout, bucket, names, passed_over):
            available |= view.add(entry, now_micros)
        if available:
            return view
    return None


def entries(layout: Layout) -> Iterator[Entry]:
    """Yield all entries, the oldest bucket first; in a bucket, by sequence number. Changes nothing."""
    for bucket in layout.buckets():
        parsed = [layout.parse(bucket, name) for name in list_bucket(bucket)]
        yield from sorted(entry for entry in parsed if entry is not None)


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


def _claimable(
    layout: Layout, bucket: str, names: list[str], passed_over: Collection[Entry]
) -> Iterator[Entry]:
    for name in names:
        entry = layout.parse(bucket, name)
        if entry is None:
            path = f"{bucket}/{name}"
            set_aside(layout, path, QueueDataCorruptedError(path, "its name states no job of this bucket"))
        elif entry.state in {State.QUEUED, State.CLAIMED} and entry not in passed_over:
            yield entry
