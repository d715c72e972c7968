"""Is a job id live, and may its name be used again? The part of the file queue that no single step can do.

`ids/<key>` and the job's entry are two names of one file. Two links: the job is live, or pending. One link:
the entry is gone (acked), for ever, and the identity is stale. To unlink a name that another process may
meanwhile have made anew would remove the new one; so whoever removes an identity holds the lock of the folder
`ids`, and looks at its links under it, and a new one can be linked only once the old one is gone. The kernel
frees a dead holder's lock. So nobody else may link the queue's files: to back the folder up, copy it.

An ack leaves its identity to a later moment, since one lock is enough for many: when some have gathered, when
a claim finds nothing, or when the handle is closed. What a killed process leaves goes when the id is enqueued
again, or when a handle first finds the queue without any job.
"""

import contextlib
import logging
import os
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator

from ssq_core.file_layout import Layout
from ssq_core.file_record import (
    HEADER_BYTES_MAX,
    Header,
    decode_header,
    encode,
    entry_key,
    new_nonce,
    parse_name,
)
from ssq_core.filesystem import (
    PASSED_OVER,
    discard,
    draw,
    locked_folder,
    make_folder,
    open_regular,
    read_regular,
    write_new,
)
from ssq_core.queue import QueueDataCorruptedError, printable_path

logger = logging.getLogger(__name__)

_NAME_BYTES_MAX = 200
_LIVE_LINKS = 2
GATHERED = 32
"""How many acked ids a handle lets gather before it removes their identities."""


def add(layout: Layout, jobs: Iterable[tuple[str, bytes]]) -> None:
    """Add jobs in this order, but for those whose ids are live. An `OSError` leaves the ids usable."""
    added = [(job_id, key, payload) for job_id, key, payload in _keyed(jobs) if not settle(layout, key)]
    if not added:
        return
    linked = []
    for sequence, (job_id, key, payload) in zip(draw(layout.order, len(added)), added, strict=True):
        header = Header(job_id, key, sequence, new_nonce(), len(payload))
        if _is_linked(layout, header, payload):
            linked.append(header)
    place(layout, linked)


def settle(layout: Layout, key: str) -> bool:
    """Return whether a job id is live, having finished what an earlier enqueue or ack of it left undone."""
    path = layout.identity(key)
    try:
        fd, status = open_regular(path)
    except FileNotFoundError:
        return False
    except QueueDataCorruptedError as error:
        _move_aside(layout, path, error)
        return False
    try:
        header = _header(fd, path, key)
        if status.st_nlink >= _LIVE_LINKS:
            place(layout, [header])
            return True
        # Its ack may not have synced yet: a new entry, and the old one brought back by a loss of power, and
        # the job has two holders.
        layout.sync(layout.bucket(header.sequence))
        with locked_folder(layout.ids):
            if _links(path, fd) == 1:
                os.unlink(path)
    except QueueDataCorruptedError as error:
        _free_damaged(layout, path, fd, error)
    finally:
        os.close(fd)
    return False


def place(layout: Layout, headers: Collection[Header]) -> None:
    """Make pending jobs claimable, each by one rename, and let them survive a loss of power.

    Anyone may do this for anyone: who finds a pending entry gone was helped. The identities are synced before
    the renames, so that no entry is ever claimable without one: a second enqueue would add the job twice.
    """
    layout.sync(layout.ids)
    for header in headers:
        with contextlib.suppress(FileNotFoundError):
            os.rename(layout.entry(header.pending), layout.entry(header.enqueued))
    # The folder of buckets too, always: another process may have made a bucket and not have synced it yet.
    layout.sync(*dict.fromkeys(layout.bucket(header.sequence) for header in headers), layout.queue)


class Acked:
    """The ids that a handle acked and whose identities it has still to remove."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._gathered: deque[tuple[str, int]] = deque()
        self._has_swept = False

    def add(self, key: str, sequence: int) -> None:
        """Note an ack that is on the disk."""
        self._gathered.append((key, sequence))
        if len(self._gathered) % GATHERED == 0:
            self.clear()

    def clear(self) -> None:
        """Remove the identities, if that is possible now; the ids' next enqueues do it otherwise."""
        if self._gathered:
            with contextlib.suppress(OSError), locked_folder(self._layout.ids, waits=False):
                while self._gathered:
                    self._remove(*self._gathered.popleft())

    def sweep(self) -> None:
        """Remove, once, what processes that died have left behind: to be called when there are no jobs."""
        if not self._has_swept:
            self._has_swept = True
            with contextlib.suppress(OSError):
                for name in os.listdir(self._layout.ids):
                    settle(self._layout, name)

    def _remove(self, key: str, sequence: int) -> None:
        # By now it may be that of another job, whose ack is not on the disk yet.
        if self._layout.durable and _sequence(self._layout, key) != sequence:
            return
        path = self._layout.identity(key)
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(path, follow_symlinks=False)
            if status.st_nlink == 1 and stat.S_ISREG(status.st_mode):
                os.unlink(path)


def read_header(layout: Layout, key: str) -> Header | None:
    """Return the header of a live job id's record; None if the id is not live, or its record damaged."""
    path = layout.identity(key)
    try:
        fd, _ = open_regular(path)
    except (FileNotFoundError, QueueDataCorruptedError):
        return None
    try:
        return _header(fd, path, key)
    except QueueDataCorruptedError:
        return None
    finally:
        os.close(fd)


def set_aside(layout: Layout, path: str, error: QueueDataCorruptedError) -> None:
    """Move what can not be read out of everyone's way, its job id free again. It is never deleted.

    The identity goes first: a kill in between leaves an entry that the next claim sets aside in its turn.
    """
    try:
        for key in _keys(path):
            _free_shared(layout, path, layout.identity(key))
        _move_aside(layout, path, error)
    except FileNotFoundError:
        return
    except OSError as refusal:
        if refusal.errno not in PASSED_OVER:
            raise
        logger.warning("can not set aside %s: %s", printable_path(path), refusal.strerror)


def _keyed(jobs: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str, bytes]]:
    """Yield jobs with their keys, of each id the first."""
    known: set[str] = set()
    for job_id, payload in jobs:
        key = entry_key(job_id.encode())
        if key not in known:
            known.add(key)
            yield job_id, key, payload


def _is_linked(layout: Layout, header: Header, payload: bytes) -> bool:
    """Write a job's record and make its id live; False if the id became live meanwhile."""
    pending = layout.entry(header.pending)
    _write_pending(layout, pending, encode(header, payload))
    try:
        is_linked = _link(layout, pending, header.key)
    except OSError:
        discard(pending)
        raise
    if not is_linked:
        discard(pending)
    return is_linked


def _write_pending(layout: Layout, path: str, content: bytes) -> None:
    while True:
        try:
            write_new(path, content, sync=layout.durable)
        except FileNotFoundError:
            # A bucket's first entry; or the bucket was emptied and removed since the number was drawn.
            make_folder(os.path.dirname(path))
        else:
            return


def _link(layout: Layout, pending: str, key: str) -> bool:
    """Make the pending entry the id's own; False if the id became live meanwhile."""
    while True:
        try:
            os.link(pending, layout.identity(key))
        except FileExistsError:
            if settle(layout, key):
                return False
        else:
            return True


def _header(fd: int, path: str, key: str) -> Header:
    header = decode_header(os.read(fd, HEADER_BYTES_MAX), path)
    if header.key != key:
        raise QueueDataCorruptedError(path, "it is the record of another job")
    return header


def _sequence(layout: Layout, key: str) -> int | None:
    header = read_header(layout, key)
    return None if header is None else header.sequence


def _links(path: str, fd: int) -> int:
    """Return how many names an identity's file has, 0 if the path names another by now."""
    status = os.fstat(fd)
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_nlink if os.path.samestat(named, status) else 0


def _free_damaged(layout: Layout, path: str, fd: int, error: QueueDataCorruptedError) -> None:
    """Free the id of a damaged record: its entry, if there is one, is set aside when a claim comes to it."""
    with locked_folder(layout.ids):
        links = _links(path, fd)
        if links >= _LIVE_LINKS:
            os.unlink(path)
        elif links == 1:
            _move_aside(layout, path, error)


def _free_shared(layout: Layout, path: str, identity: str) -> None:
    """Free the id whose identity is the same file as a damaged entry."""
    try:
        fd, status = open_regular(identity)
    except (FileNotFoundError, QueueDataCorruptedError):
        return
    try:
        if os.path.samestat(os.lstat(path), status):
            with locked_folder(layout.ids):
                if _links(identity, fd):
                    os.unlink(identity)
    finally:
        os.close(fd)


def _keys(path: str) -> set[str]:
    """Return the keys that a damaged entry may have its identity under: its name's, and its record's."""
    entry = parse_name(os.path.basename(path))
    keys = set() if entry is None else {entry.key}
    with contextlib.suppress(OSError, QueueDataCorruptedError):
        keys.add(decode_header(read_regular(path), path).key)
    return keys


def _move_aside(layout: Layout, path: str, error: QueueDataCorruptedError) -> None:
    name = os.fsdecode(os.fsencode(os.path.basename(path))[:_NAME_BYTES_MAX])
    os.rename(path, f"{layout.damaged}/{new_nonce()}.{name}")
    logger.warning("set aside in %s: %s", printable_path(layout.damaged), error)
